// PyTorch exported programs (.pt2): registration of reader.h and convert.h. Read only.
#include "core/formats/format.h"

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/pt2/convert.h"
#include "core/formats/pt2/reader.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

class Pt2Format final : public Format {
 public:
  std::string_view name() const override { return "pt2"; }
  std::string_view description() const override {
    return "PyTorch exported program (torch.export.save); converted to ONNX when it is read";
  }
  std::vector<std::string_view> extensions() const override { return {".pt2"}; }
  bool Recognises(const InputFiles& files) const override {
    return pt2::LooksLikePt2(files.main.file->bytes());
  }
  bool converts() const override { return true; }
  absl::StatusOr<Model> Read(const InputFiles& files, const Import& options,
                             const JobContext& context,
                             std::vector<std::string>* notes) const override {
    try {
      MP_ASSIGN_OR_RETURN(const pt2::Program program, pt2::ReadProgram(files.main.file, context));
      return pt2::ConvertProgram(program, options, context, notes);
    } catch (const std::exception& error) {
      return Error(ERROR_REASON_MODEL_MALFORMED,
                   FormatString("reading the model failed: {}", error.what()));
    }
  }
};

}  // namespace

void RegisterFormat_pt2(FormatRegistry& registry) { registry.Add(std::make_unique<Pt2Format>()); }

}  // namespace modelpress
