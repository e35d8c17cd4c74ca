// Calibration samples; see calibration_samples.h.
#include "core/statistics/calibration_samples.h"

#include "core/base/status.h"

namespace modelpress {

absl::StatusOr<std::unique_ptr<Samples>> OpenCalibrationSamples(const Model& model,
                                                                const DataSet* data,
                                                                uint64_t max_samples,
                                                                uint64_t synthetic_count,
                                                                uint64_t seed) {
  if (data == nullptr) return MakeSyntheticSamples(model, synthetic_count, seed);
  MP_ASSIGN_OR_RETURN(std::unique_ptr<Samples> samples,
                      data->Split("calib", {"train", "unlabeled", "val", "test"},
                                  DeclaredInputs(model), /*batch_size=*/1, max_samples));
  if (samples->size() == 0) {
    return Error(ERROR_REASON_DATA_INVALID, "the data set holds no samples to calibrate on")
        .With("expected", "samples");
  }
  return samples;
}

}  // namespace modelpress
