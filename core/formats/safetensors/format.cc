// The safetensors format: registration of header.h, shard_index.h and writer.h. Weights without a graph.
#include "core/formats/format.h"

#include "core/formats/safetensors/header.h"
#include "core/formats/safetensors/shard_index.h"
#include "core/formats/safetensors/writer.h"
#include "core/formats/weights/read_weights.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {
namespace {

class SafetensorsFormat final : public Format {
 public:
  std::string_view name() const override { return "safetensors"; }
  std::string_view description() const override {
    return "safetensors, one file or shards with an index; weights without a graph";
  }
  std::vector<std::string_view> extensions() const override {
    return {".safetensors", ".safetensors.index.json"};
  }
  bool can_write() const override { return true; }
  bool has_graph() const override { return false; }
  bool Recognises(const InputFiles& files) const override {
    return safetensors::LooksLikeSafetensors(files.main.file->bytes()) ||
           safetensors::LooksLikeIndex(files.main.file->bytes());
  }
  absl::StatusOr<Model> Read(const InputFiles& files, const Import&, const JobContext& context,
                             std::vector<std::string>* notes) const override {
    MP_ASSIGN_OR_RETURN(const std::vector<NamedTensor> weights,
                        ReadWeights(files.main, files.sidecars, context, notes));
    return ModelOfWeights(weights);
  }
  absl::StatusOr<std::vector<ArtifactFile>> Write(const Model& model, const Output&,
                                                  const std::string& folder,
                                                  const std::string& file_name,
                                                  const JobContext& context,
                                                  double* sync_seconds) const override {
    return safetensors::Write(model, folder, file_name, context, sync_seconds);
  }
};

}  // namespace

void RegisterFormat_safetensors(FormatRegistry& registry) {
  registry.Add(std::make_unique<SafetensorsFormat>());
}

}  // namespace modelpress
