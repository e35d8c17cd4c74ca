// Which samples are trained on, which choose the best values of a training, and which judge a trained model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace modelpress {

// Samples of one split of the data set. Rows are what is fed at once and cannot be taken apart.
struct SampleSource {
  // "train", "unlabeled", "calib", "val", or what the samples are.
  std::string name;
  uint64_t rows = 0;
  bool labelled = false;
};

// What a row is for; one bit each.
inline constexpr uint8_t kTrainedOn = 1, kValidatedBy = 2, kJudgedBy = 4;

struct SampleSplit {
  // By source and row: bits of the above. A row has more than one only where the notes say so.
  std::vector<std::vector<uint8_t>> uses;
  // "train, unlabeled; validation: calib".
  std::string description;
  // Where there were too few samples to keep the three apart.
  std::vector<std::string> notes;

  uint64_t Count(uint8_t use) const;
};

// For a training that nobody judges: val validates, else calib where that is not trained on, else every tenth row; a
// single row both trains and validates. Everything else is trained on.
SampleSplit SplitForTraining(const std::vector<SampleSource>& sources);

// For a training whose result is judged.
//   judge      labels: all of val, else of calib if there is anything else to train on, else every tenth labelled row,
//              at least 100 but no more than half. Without labels: all of val, and of the other rows without labels a
//              fifth, at least 800 but no more than half; drawn at random by the seed.
//   validate   calib where it does not judge, else every tenth row of the rest
//   train      the rest
// Where fewer than 100 rows are left to train on, those that judge validate too.
SampleSplit SplitForJudging(const std::vector<SampleSource>& sources, uint64_t seed);

}  // namespace modelpress
