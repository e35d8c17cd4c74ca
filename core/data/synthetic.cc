// Samples for a model without data: see samples.h.
#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/data/input_plan.h"
#include "core/data/random.h"
#include "core/data/samples.h"

namespace modelpress {
namespace {

// Fixed extents come from the model, which may claim any.
constexpr uint64_t kMaxInputBytes = uint64_t{1} << 30;

constexpr std::string_view kWords[] = {"the",  "cat",  "sat",   "on",    "a",    "mat",  "and",
                                       "saw",  "some", "small", "birds", "in",   "an",   "old",
                                       "tree", "near", "his",   "house", "this", "good", "day"};

std::string Word(Random& random) { return std::string(kWords[random.Below(std::size(kWords))]); }

std::string Sentence(Random& random) {
  std::string text = Word(random);
  for (int i = 0; i < 7; ++i) text += " " + Word(random);
  return text;
}

template <typename T, typename Generate>
void Fill(std::span<std::byte> data, const Generate& generate) {
  for (size_t at = 0; at + sizeof(T) <= data.size(); at += sizeof(T)) {
    const T value = static_cast<T>(generate());
    std::memcpy(data.data() + at, &value, sizeof(T));
  }
}

int64_t MaskValue(Random& random, uint64_t element, uint64_t row_length) {
  return element % row_length == 0 || random.Below(4) != 0;
}

absl::StatusOr<Tensor> MakeValue(const InputPlan& plan, Random random) {
  std::span<std::byte> data;
  MP_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Make(plan.type, plan.dims, &data));
  const uint64_t row_length = plan.dims.empty() ? 1 : std::max<int64_t>(plan.dims.back(), 1);
  const uint64_t span = static_cast<uint64_t>(plan.high) - static_cast<uint64_t>(plan.low) + 1;
  uint64_t element = 0;
  auto normal = [&random] { return random.Normal(); };
  auto integer = [&] {
    if (plan.is_mask) return MaskValue(random, element++, row_length);
    return plan.low + static_cast<int64_t>(random.Below(span));
  };
  switch (plan.type) {
    case DataType::kFloat:
      Fill<float>(data, normal);
      break;
    case DataType::kDouble:
      Fill<double>(data, normal);
      break;
    case DataType::kFloat16:
      Fill<_Float16>(data, normal);
      break;
    case DataType::kBfloat16:
      Fill<uint16_t>(data, [&] { return std::bit_cast<uint32_t>(random.Normal()) >> 16; });
      break;
    case DataType::kInt8:
      Fill<int8_t>(data, integer);
      break;
    case DataType::kUint8:
      Fill<uint8_t>(data, integer);
      break;
    case DataType::kInt16:
      Fill<int16_t>(data, integer);
      break;
    case DataType::kUint16:
      Fill<uint16_t>(data, integer);
      break;
    case DataType::kInt32:
      Fill<int32_t>(data, integer);
      break;
    case DataType::kUint32:
      Fill<uint32_t>(data, integer);
      break;
    case DataType::kInt64:
      Fill<int64_t>(data, integer);
      break;
    case DataType::kUint64:
      Fill<uint64_t>(data, integer);
      break;
    case DataType::kBool:
      Fill<uint8_t>(data, [&] { return MaskValue(random, element++, row_length); });
      break;
    default:
      break;  // strings; MakeSyntheticSamples refuses the others
  }
  // A row of one string is a text, longer rows are words.
  for (std::string& text : tensor.strings) text = row_length == 1 ? Sentence(random) : Word(random);
  return tensor;
}

class SyntheticSamples : public Samples {
 public:
  SyntheticSamples(std::vector<InputPlan> plans, uint64_t count, uint64_t seed)
      : plans_(std::move(plans)), count_(count), seed_(seed) {}

  uint64_t size() const override { return count_; }
  uint64_t batches() const override { return count_; }
  bool has_labels() const override { return false; }
  std::string description() const override { return "synthetic"; }
  bool synthetic() const override { return true; }

  absl::StatusOr<Batch> Read(uint64_t index) const override {
    if (index >= count_) {
      return Error(ERROR_REASON_INTERNAL_BUG, FormatString("feed {} of {}", index, count_));
    }
    Batch batch{.samples = 1, .first = index};
    for (size_t i = 0; i < plans_.size(); ++i) {
      MP_ASSIGN_OR_RETURN(batch.inputs[plans_[i].name],
                          MakeValue(plans_[i], Random(seed_, i, index)));
    }
    return batch;
  }

 private:
  std::vector<InputPlan> plans_;
  uint64_t count_;
  uint64_t seed_;
};

absl::Status CheckPlan(const InputPlan& plan) {
  static constexpr DataType kMissing[] = {DataType::kUndefined,      DataType::kComplex64,
                                          DataType::kComplex128,     DataType::kFloat8E4M3FN,
                                          DataType::kFloat8E4M3FNUZ, DataType::kFloat8E5M2,
                                          DataType::kFloat8E5M2FNUZ, DataType::kUint4,
                                          DataType::kInt4,           DataType::kFloat4E2M1};
  if (std::ranges::contains(kMissing, plan.type) ||
      (plan.type != DataType::kString && BitsPerElement(plan.type) == 0)) {
    return Error(ERROR_REASON_DATA_INVALID,
                 FormatString("input '{}' is {}, for which no samples can be made up", plan.name,
                              DataTypeName(plan.type)))
        .With("input", plan.name)
        .Remedy("send data");
  }
  const uint64_t bits = plan.type == DataType::kString ? 256 : BitsPerElement(plan.type);
  const absl::StatusOr<uint64_t> elements = ElementCount(plan.dims);
  if (!elements.ok() || *elements > kMaxInputBytes * 8 / bits) {
    return Error(
               ERROR_REASON_DATA_INVALID,
               FormatString("input '{}' takes more than {} bytes at once, for which no samples are "
                            "made up",
                            plan.name, kMaxInputBytes))
        .With("input", plan.name)
        .Remedy("send data");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Samples>> MakeSyntheticSamples(const Model& model, uint64_t count,
                                                              uint64_t seed) {
  MP_ASSIGN_OR_RETURN(std::vector<InputPlan> plans, PlanInputs(model));
  for (const InputPlan& plan : plans) MP_RETURN_IF_ERROR(CheckPlan(plan));
  return std::make_unique<SyntheticSamples>(std::move(plans), count, seed);
}

}  // namespace modelpress
