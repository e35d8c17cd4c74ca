// The ONNX format: registration of reader.h and writer.h.
#include "core/formats/format.h"

#include "core/formats/onnx/reader.h"
#include "core/formats/onnx/writer.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {
namespace {

class OnnxFormat final : public Format {
 public:
  std::string_view name() const override { return "onnx"; }
  std::string_view description() const override {
    return "ONNX up to opset 22, one file or with external data";
  }
  std::vector<std::string_view> extensions() const override { return {".onnx"}; }
  bool can_write() const override { return true; }
  bool Recognises(const InputFiles& files) const override {
    return onnx_format::LooksLikeOnnx(files.main.file->bytes());
  }
  absl::StatusOr<Model> Read(const InputFiles& files, const Import&, const JobContext& context,
                             std::vector<std::string>*) const override {
    return onnx_format::ReadOnnx(files, context);
  }
  absl::StatusOr<std::vector<ArtifactFile>> Write(const Model& model, const Output& options,
                                                  const std::string& folder,
                                                  const std::string& file_name,
                                                  const JobContext& context,
                                                  double* sync_seconds) const override {
    return onnx_format::WriteOnnx(model, options, folder, file_name, context, sync_seconds);
  }
};

}  // namespace

void RegisterFormat_onnx(FormatRegistry& registry) { registry.Add(std::make_unique<OnnxFormat>()); }

}  // namespace modelpress
