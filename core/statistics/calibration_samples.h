// The samples that passes calibrate on.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/model/model.h"

namespace modelpress {

// One sample a feed where the model allows it: split calib, else train, unlabeled, val, test, or
// the data set without splits; without data, `synthetic_count` seeded synthetic samples (which
// Samples::synthetic() tells). At most `max_samples` (0: all). Errors: those of the data.
absl::StatusOr<std::unique_ptr<Samples>> OpenCalibrationSamples(const Model& model,
                                                                const DataSet* data,
                                                                uint64_t max_samples,
                                                                uint64_t synthetic_count,
                                                                uint64_t seed);

// The same samples in an order that depends on what they hold alone, at most `max_samples` of them (0:
// all): what is made of them is the same however the data set orders them. Reads every sample once.
absl::StatusOr<std::unique_ptr<Samples>> InContentOrder(std::unique_ptr<Samples> samples,
                                                        uint64_t max_samples,
                                                        const JobContext& context);

}  // namespace modelpress
