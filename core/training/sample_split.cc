// Dividing samples: see sample_split.h.
#include "core/training/sample_split.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/data/random.h"

namespace modelpress {
namespace {

constexpr uint64_t kEvery = 10;
constexpr uint64_t kLeastLabelled = 100, kLeastUnlabelled = 800, kUnlabelledShare = 5;
// Below so many rows a tenth of them says nothing.
constexpr uint64_t kLeastTraining = 100;

class Splitting {
 public:
  explicit Splitting(const std::vector<SampleSource>& sources) : sources_(sources) {
    for (const SampleSource& source : sources) result_.uses.emplace_back(source.rows, kTrainedOn);
  }

  std::optional<size_t> Find(std::string_view name) const {
    for (size_t s = 0; s < sources_.size(); ++s) {
      if (sources_[s].name == name && sources_[s].rows > 0) return s;
    }
    return std::nullopt;
  }

  void UseAll(size_t source, uint8_t use) { std::ranges::fill(result_.uses[source], use); }

  // Every tenth row of those that are trained on.
  void ValidateByEveryTenth() {
    const uint64_t rows = result_.Count(kTrainedOn);
    if (rows == 0) return;
    if (rows == 1) {
      for (auto& uses : result_.uses) {
        for (uint8_t& use : uses) {
          if (use == kTrainedOn) use |= kValidatedBy;
        }
      }
      validation_.push_back("the one sample there is");
      return;
    }
    const uint64_t every = std::min(kEvery, rows);
    uint64_t number = 0, taken = 0;
    for (auto& uses : result_.uses) {
      for (uint8_t& use : uses) {
        if (use != kTrainedOn || number++ % every != every - 1 || taken == rows / every) continue;
        use = kValidatedBy;
        ++taken;
      }
    }
    validation_.push_back(FormatString("every {}th of them", every));
  }

  void ValidateByAll(size_t source) {
    UseAll(source, kValidatedBy);
    validation_.push_back(sources_[source].name);
  }

  void JudgeByAll(size_t source) {
    UseAll(source, kJudgedBy);
    judges_.push_back(sources_[source].name);
  }

  // `count` of the rows that are trained on and have labels or not.
  void JudgeBySome(bool labelled, uint64_t count, uint64_t seed) {
    if (count == 0) return;
    std::vector<std::pair<size_t, uint64_t>> pool = Pool(labelled);
    Random random(seed, /*key=*/0x6a75, labelled);
    for (uint64_t i = 0; i < count; ++i) {
      std::swap(pool[i], pool[i + random.Below(pool.size() - i)]);
      result_.uses[pool[i].first][pool[i].second] = kJudgedBy;
    }
    judges_.push_back(FormatString("{} of those {} labels", count, labelled ? "with" : "without"));
  }

  uint64_t Available(bool labelled) const { return Pool(labelled).size(); }

  void JudgesValidate() {
    for (auto& uses : result_.uses) {
      for (uint8_t& use : uses) {
        if ((use & kJudgedBy) != 0) use |= kValidatedBy;
      }
    }
    validation_.push_back("those that judge");
    result_.notes.push_back(
        FormatString("only {} samples are left to train on: the samples that judge also choose the "
                     "best values of a training, which flatters it",
                     result_.Count(kTrainedOn)));
  }

  const SampleSplit& result() const { return result_; }

  SampleSplit Finish() {
    std::vector<std::string> trained;
    for (size_t s = 0; s < sources_.size(); ++s) {
      const bool any =
          std::ranges::any_of(result_.uses[s], [](uint8_t use) { return (use & kTrainedOn) != 0; });
      if (any) trained.push_back(sources_[s].name);
    }
    result_.description = FormatString("{}; validation: {}", absl::StrJoin(trained, ", "),
                                       absl::StrJoin(validation_, ", "));
    if (!judges_.empty()) {
      result_.description += FormatString("; judged by: {}", absl::StrJoin(judges_, ", "));
    }
    return std::move(result_);
  }

 private:
  std::vector<std::pair<size_t, uint64_t>> Pool(bool labelled) const {
    std::vector<std::pair<size_t, uint64_t>> pool;
    for (size_t s = 0; s < sources_.size(); ++s) {
      if (sources_[s].labelled != labelled) continue;
      for (uint64_t row = 0; row < sources_[s].rows; ++row) {
        if (result_.uses[s][row] == kTrainedOn) pool.push_back({s, row});
      }
    }
    return pool;
  }

  const std::vector<SampleSource>& sources_;
  std::vector<std::string> validation_, judges_;
  SampleSplit result_;
};

}  // namespace

uint64_t SampleSplit::Count(uint8_t use) const {
  uint64_t count = 0;
  for (const auto& rows : uses) {
    count += static_cast<uint64_t>(
        std::ranges::count_if(rows, [use](uint8_t bits) { return (bits & use) != 0; }));
  }
  return count;
}

SampleSplit SplitForTraining(const std::vector<SampleSource>& sources) {
  Splitting splitting(sources);
  const auto val = splitting.Find("val"), calib = splitting.Find("calib");
  const bool others =
      splitting.Find("train").has_value() || splitting.Find("unlabeled").has_value();
  if (val.has_value()) {
    splitting.ValidateByAll(*val);
  } else if (calib.has_value() && others) {
    splitting.ValidateByAll(*calib);
  } else {
    splitting.ValidateByEveryTenth();
  }
  return splitting.Finish();
}

SampleSplit SplitForJudging(const std::vector<SampleSource>& sources, uint64_t seed) {
  Splitting splitting(sources);
  const auto val = splitting.Find("val"), calib = splitting.Find("calib");
  const bool others =
      splitting.Find("train").has_value() || splitting.Find("unlabeled").has_value();
  bool labels = false, calib_judges = false;
  if (val.has_value()) {
    labels = sources[*val].labelled;
    splitting.JudgeByAll(*val);
  }
  if (calib.has_value() && others && !labels && sources[*calib].labelled) {
    labels = calib_judges = true;
    splitting.JudgeByAll(*calib);
  }
  const bool calib_validates = calib.has_value() && others && !calib_judges;
  if (calib_validates) splitting.ValidateByAll(*calib);
  if (!labels) {
    const uint64_t rows = splitting.Available(true);
    splitting.JudgeBySome(true, std::min(std::max(rows / kEvery, kLeastLabelled), rows / 2), seed);
  }
  const uint64_t rows = splitting.Available(false);
  const uint64_t wanted = std::max(rows / kUnlabelledShare, kLeastUnlabelled);
  const uint64_t have = val.has_value() && !sources[*val].labelled ? sources[*val].rows : 0;
  splitting.JudgeBySome(false, std::min(wanted - std::min(wanted, have), rows / 2), seed);
  if (!calib_validates) {
    const bool few = splitting.result().Count(kTrainedOn) < kLeastTraining;
    if (few && splitting.result().Count(kJudgedBy) > 0) {
      splitting.JudgesValidate();
    } else {
      splitting.ValidateByEveryTenth();
    }
  }
  return splitting.Finish();
}

}  // namespace modelpress
