// The TensorFlow Lite format: registration of reader.h and convert.h. Read only.
#include "core/formats/format.h"

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/tflite/convert.h"
#include "core/formats/tflite/operator.h"
#include "core/formats/tflite/reader.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

class TfliteFormat final : public Format {
 public:
  std::string_view name() const override { return "tflite"; }
  std::string_view description() const override {
    static const auto* const text = new std::string(
        FormatString("TensorFlow Lite (LiteRT), float and quantized, {} operators; converted to "
                     "ONNX when it is read",
                     tflite::OperatorRegistry::Get().size()));
    return *text;
  }
  std::vector<std::string_view> extensions() const override { return {".tflite"}; }
  bool Recognises(const InputFiles& files) const override {
    return tflite::LooksLikeTflite(files.main.file->bytes());
  }
  bool converts() const override { return true; }
  absl::StatusOr<Model> Read(const InputFiles& files, const Import& options,
                             const JobContext& context,
                             std::vector<std::string>* notes) const override {
    try {
      MP_ASSIGN_OR_RETURN(const tflite::SourceModel source, tflite::ReadSource(files.main.file));
      return tflite::ConvertModel(source, options, context, notes);
    } catch (const std::exception& error) {
      return Error(ERROR_REASON_MODEL_MALFORMED,
                   FormatString("reading the model failed: {}", error.what()));
    }
  }
};

}  // namespace

void RegisterFormat_tflite(FormatRegistry& registry) {
  registry.Add(std::make_unique<TfliteFormat>());
}

}  // namespace modelpress
