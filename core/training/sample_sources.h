// The splits of a data set that are trained on, validated and judged by.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/data/samples.h"
#include "core/model/model.h"
#include "core/runtime/session.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

// Samples of one run of the teacher, where they can be joined.
inline constexpr uint64_t kJoinedSamples = 64;

struct OpenSource {
  std::string name;
  std::unique_ptr<Samples> samples;
};

struct OpenSources {
  std::vector<OpenSource> sources;
  // Samples lie along axis 0 of every input and output, several a feed; else a feed is one sample.
  bool joined = false;
};

// train and unlabeled, else calib or the data set without splits; and what is not trained on: with `all` every split but
// test, else one to validate by. Without data synthetic samples. Errors: those of the data set.
absl::StatusOr<OpenSources> OpenSampleSources(const Model& teacher, const Session& session,
                                              const DataSet* data, uint64_t max_samples, bool all,
                                              uint64_t seed);

}  // namespace modelpress
