// Holding a model against given outputs: see expectation.h.
#include "core/measure/expectation.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/format_string.h"
#include "core/base/nearest_name.h"
#include "core/base/status.h"
#include "core/data/npy.h"
#include "core/runtime/session.h"

namespace modelpress {
namespace {

namespace fs = std::filesystem;

std::string FileName(std::string name) {
  for (char& letter : name) {
    if (letter == '/' || letter == '\\' || letter == ':' ||
        static_cast<unsigned char>(letter) < 0x20)
      letter = '_';
  }
  return name + ".npy";
}

// The arrays of a folder by the inputs or outputs that they belong to.
//
// Each has its own name, or in0.npy, out0.npy ... by its number. Where none of those is there, arrays that nothing else
// claims are taken in the order of their names (numbers in them by value), if there are as many as are wanted.
class Arrays {
 public:
  explicit Arrays(std::string folder) : folder_(std::move(folder)) {
    std::error_code error;
    for (fs::directory_iterator at(folder_, error), end; !error && at != end; at.increment(error)) {
      if (at->path().extension() == ".npy") files_.push_back(at->path().filename().string());
    }
    std::ranges::sort(files_, ByNumber);
  }

  // The file of each value; "" for those without one. `others` have their own files.
  std::vector<std::string> Find(const std::vector<std::string>& names, std::string_view kind,
                                const std::vector<std::string>& others,
                                std::string_view other_kind) {
    std::vector<std::string> found;
    for (size_t i = 0; i < names.size(); ++i) found.push_back(ByName(names[i], kind, i));
    if (std::ranges::any_of(found, [](const std::string& file) { return !file.empty(); }))
      return found;
    std::vector<std::string> free = files_;
    for (size_t i = 0; i < others.size(); ++i) std::erase(free, ByName(others[i], other_kind, i));
    for (const auto& [name, file] : by_place_) std::erase(free, file);
    // Those that say what they are belong to nothing else.
    std::erase_if(free, [&](const std::string& file) {
      return file.starts_with(kind == "in" ? "out" : "in");
    });
    if (free.size() != names.size()) return found;
    for (size_t i = 0; i < names.size(); ++i) by_place_[names[i]] = free[i];
    return free;
  }

  // What was taken by its place, by the value's name.
  const std::map<std::string, std::string>& by_place() const { return by_place_; }
  const std::vector<std::string>& files() const { return files_; }

  absl::StatusOr<Tensor> Load(const std::string& file) const {
    const std::string path = (fs::path(folder_) / file).string();
    MP_ASSIGN_OR_RETURN(const auto mapped, MappedFile::OpenForReading(path));
    absl::StatusOr<Tensor> tensor = ReadNpy(mapped->bytes(), mapped);
    if (!tensor.ok()) return Annotate(tensor.status(), "file", path);
    return tensor;
  }

  // Which files were looked for, which are there, and which of them is nearest.
  Error Missing(std::string_view what, const std::string& name, std::string_view kind,
                size_t number) const {
    const std::string wanted = FileName(name), numbered = FormatString("{}{}.npy", kind, number);
    std::string there;
    for (size_t i = 0; i < std::min<size_t>(files_.size(), 10); ++i)
      absl::StrAppend(&there, there.empty() ? "" : ", ", files_[i]);
    if (files_.size() > 10) absl::StrAppend(&there, ", ...");
    const std::string near = NearestName(wanted, files_);
    return Error(ERROR_REASON_DATA_MISSING,
                 FormatString("{} has no array for {} '{}': neither {} nor {}; {}", folder_, what,
                              name, wanted, numbered,
                              there.empty() ? "there are no .npy files"
                                            : FormatString("there are {}", there)))
        .With("needed", wanted)
        .Remedy(near.empty() ? FormatString("save it as {}", numbered)
                             : FormatString("is it {}? save it as {}", near, wanted));
  }

 private:
  // Runs of digits by their value.
  static bool ByNumber(const std::string& a, const std::string& b) {
    size_t i = 0, j = 0;
    const auto digit = [](char letter) { return letter >= '0' && letter <= '9'; };
    const auto run = [&](const std::string& text, size_t& at) {
      const size_t begin = std::min(text.find_first_not_of('0', at), text.size());
      size_t end = begin;
      while (end < text.size() && digit(text[end])) ++end;
      at = end;
      return std::string_view(text).substr(begin, end - begin);
    };
    while (i < a.size() && j < b.size()) {
      if (digit(a[i]) && digit(b[j])) {
        const std::string_view x = run(a, i), y = run(b, j);
        if (x.size() != y.size()) return x.size() < y.size();
        if (x != y) return x < y;
      } else if (a[i] != b[j]) {
        return a[i] < b[j];
      } else {
        ++i, ++j;
      }
    }
    return a.size() - i < b.size() - j || (a.size() - i == b.size() - j && a < b);
  }

  std::string ByName(const std::string& name, std::string_view kind, size_t number) const {
    for (const std::string& file : {FileName(name), FormatString("{}{}.npy", kind, number)}) {
      if (std::ranges::contains(files_, file)) return file;
    }
    return "";
  }

  std::string folder_;
  std::vector<std::string> files_;
  std::map<std::string, std::string> by_place_;
};

ExpectedOutput Compare(const std::string& name, const Tensor& expected, const Tensor& found,
                       double tolerance) {
  ExpectedOutput result{.name = name};
  double low = 0, high = 0, magnitude = 0.01;
  bool same = true, first = true;
  for (uint64_t i = 0; i < expected.element_count(); ++i) {
    const double a = ElementAsDouble(expected, i), b = ElementAsDouble(found, i);
    if (!std::isfinite(a) || !std::isfinite(b)) {
      same &= (std::isnan(a) && std::isnan(b)) || a == b;
      continue;
    }
    result.max_abs_error = std::max(result.max_abs_error, std::abs(a - b));
    low = first ? a : std::min(low, a);
    high = first ? a : std::max(high, a);
    magnitude = std::max(magnitude, std::abs(a));
    first = false;
  }
  result.range = std::max(high - low, magnitude);
  double limit = 0;
  if (IsFloatingPoint(found.type)) limit = tolerance * result.range;
  if (!IsFloatingPoint(found.type) && found.type != DataType::kBool &&
      BitsPerElement(found.type) <= 16)
    limit = 2;
  result.holds = same && result.max_abs_error <= limit;
  return result;
}

}  // namespace

absl::StatusOr<std::vector<ExpectedOutput>> CompareWithExpected(const Model& model,
                                                                const std::string& folder,
                                                                double tolerance,
                                                                std::vector<std::string>* notes) {
  MP_ASSIGN_OR_RETURN(const auto session, Session::Create(model, {}));
  const auto names_of = [](const auto& values) {
    std::vector<std::string> names;
    for (const auto& value : values) names.push_back(value.name);
    return names;
  };
  const std::vector<std::string> in = names_of(session->inputs()),
                                 out = names_of(session->outputs());
  Arrays arrays(folder);
  const std::vector<std::string> in_files = arrays.Find(in, "in", out, "out"),
                                 out_files = arrays.Find(out, "out", in, "in");
  TensorMap inputs;
  for (size_t i = 0; i < in.size(); ++i) {
    if (in_files[i].empty()) return arrays.Missing("input", in[i], "in", i);
    MP_ASSIGN_OR_RETURN(inputs[in[i]], arrays.Load(in_files[i]));
  }
  if (std::ranges::all_of(out_files, [](const std::string& file) { return file.empty(); }))
    return arrays.Missing("output", out.empty() ? std::string() : out[0], "out", 0);
  MP_ASSIGN_OR_RETURN(const TensorMap outputs, session->Run(inputs));
  std::vector<ExpectedOutput> compared;
  for (size_t i = 0; i < out.size(); ++i) {
    if (out_files[i].empty()) continue;
    MP_ASSIGN_OR_RETURN(const Tensor expected, arrays.Load(out_files[i]));
    const Tensor& found = outputs.at(out[i]);
    if (expected.dims != found.dims) {
      return Error(ERROR_REASON_DATA_INVALID,
                   FormatString("the expected output '{}' ({}) has another shape", out[i],
                                out_files[i]))
          .With("output", out[i]);
    }
    compared.push_back(Compare(out[i], expected, found, tolerance));
  }
  if (notes != nullptr) {
    for (const auto& [name, file] : arrays.by_place())
      notes->push_back(FormatString("{} was taken for '{}', by its place", file, name));
  }
  return compared;
}

}  // namespace modelpress
