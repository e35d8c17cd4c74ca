// Opening splits: see sample_sources.h.
#include "core/training/sample_sources.h"

#include <algorithm>

#include "core/base/status.h"

namespace modelpress {
namespace {

constexpr uint64_t kSyntheticSamples = 128;

absl::StatusOr<std::vector<OpenSource>> Open(const Model& teacher, const DataSet* data,
                                             uint64_t max_samples, bool all, uint64_t seed,
                                             uint64_t batch) {
  const std::vector<ValueInfo> inputs = DeclaredInputs(teacher);
  std::vector<OpenSource> sources;
  if (data == nullptr) {
    MP_ASSIGN_OR_RETURN(auto samples, MakeSyntheticSamples(teacher, kSyntheticSamples, seed));
    sources.push_back({"synthetic samples", std::move(samples)});
    return sources;
  }
  const auto open = [&](const std::string& split) -> absl::Status {
    MP_ASSIGN_OR_RETURN(auto samples, data->Split(split, {}, inputs, batch, max_samples));
    sources.push_back({split, std::move(samples)});
    return absl::OkStatus();
  };
  for (const char* split : {"train", "unlabeled"}) {
    if (data->HasSplit(split)) MP_RETURN_IF_ERROR(open(split));
  }
  // A data set without splits is taken whole.
  const bool whole = sources.empty();
  const bool val = data->HasSplit("val");
  if (whole || (data->HasSplit("calib") && (all || !val))) MP_RETURN_IF_ERROR(open("calib"));
  if (val) MP_RETURN_IF_ERROR(open("val"));
  return sources;
}

// Whether samples of this feed lie along axis 0 of every input and output.
bool IsJoined(const Model& teacher, const Batch& batch, const TensorMap& outputs) {
  const auto along = [&](const Tensor& tensor) {
    return !tensor.dims.empty() && tensor.dims[0] == static_cast<int64_t>(batch.samples);
  };
  for (const ValueInfo& input : DeclaredInputs(teacher)) {
    if (input.dims.empty() || input.dims[0] >= 0) return false;
  }
  return std::ranges::all_of(batch.inputs,
                             [&](const auto& entry) { return along(entry.second); }) &&
         std::ranges::all_of(outputs, [&](const auto& entry) { return along(entry.second); });
}

}  // namespace

absl::StatusOr<OpenSources> OpenSampleSources(const Model& teacher, const Session& session,
                                              const DataSet* data, uint64_t max_samples, bool all,
                                              uint64_t seed) {
  OpenSources opened;
  MP_ASSIGN_OR_RETURN(opened.sources, Open(teacher, data, max_samples, all, seed, kJoinedSamples));
  const Samples& samples = *opened.sources[0].samples;
  if (samples.batches() > 0 && !samples.synthetic()) {
    MP_ASSIGN_OR_RETURN(const Batch first, samples.Read(0));
    const auto outputs = session.Run(first.inputs);
    opened.joined = outputs.ok() && first.samples > 1 && IsJoined(teacher, first, *outputs);
  }
  if (!opened.joined) {
    MP_ASSIGN_OR_RETURN(opened.sources, Open(teacher, data, max_samples, all, seed, 1));
  }
  return opened;
}

}  // namespace modelpress
