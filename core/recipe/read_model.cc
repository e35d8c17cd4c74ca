// Reading the model of a job: see read_model.h.
#include "core/recipe/read_model.h"

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/opset_conversion.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

absl::StatusOr<Model> ReadModel(const Format& format, const InputFiles& files,
                                const Import& options, const JobContext& context,
                                std::vector<std::string>* notes) {
  if (!format.converts() && options.ByteSizeLong() > 0) {
    return Error(ERROR_REASON_RECIPE_INVALID,
                 FormatString("import: a model of format {} is not converted when it is read",
                              format.name()))
        .With("field", "import")
        .Remedy(
            "leave the options of conversions out; the pass convert_opset changes the opset of an "
            "ONNX model");
  }
  MP_ASSIGN_OR_RETURN(Model model, format.Read(files, options, context, notes));
  if (options.opset() != 0 && static_cast<int64_t>(options.opset()) != model.opset()) {
    MP_RETURN_IF_ERROR(ConvertDefaultDomain(model, options.opset()));
  }
  return model;
}

}  // namespace modelpress
