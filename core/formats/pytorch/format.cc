// PyTorch checkpoints: registration of checkpoint.h. Weights without a graph; read only.
#include "core/formats/format.h"

#include "core/formats/pytorch/checkpoint.h"
#include "core/formats/weights/read_weights.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

class PytorchFormat final : public Format {
 public:
  std::string_view name() const override { return "pytorch"; }
  std::string_view description() const override {
    return "PyTorch state dict of torch.save; weights without a graph, nothing in it is executed";
  }
  std::vector<std::string_view> extensions() const override { return {".pth", ".pt"}; }
  bool has_graph() const override { return false; }
  bool Recognises(const InputFiles& files) const override {
    return pytorch::LooksLikeCheckpoint(files.main.file->bytes());
  }
  absl::StatusOr<Model> Read(const InputFiles& files, const Import&, const JobContext& context,
                             std::vector<std::string>* notes) const override {
    MP_ASSIGN_OR_RETURN(const std::vector<NamedTensor> weights,
                        ReadWeights(files.main, files.sidecars, context, notes));
    return ModelOfWeights(weights);
  }
};

}  // namespace

void RegisterFormat_pytorch(FormatRegistry& registry) {
  registry.Add(std::make_unique<PytorchFormat>());
}

}  // namespace modelpress
