// The structure part of the gate: the ONNX checker, and inputs and outputs that stay those of the
// original.

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/gate/gate.h"
#include "onnx/checker.h"
#include "onnx/shape_inference/implementation.h"

namespace modelpress {

absl::Status CheckModel(const Model& model) {
  // The checker does not open a file behind a location that begins with '#', which is what weights
  // of a skeleton have. The full check infers types, so it finds an operator that was given a type
  // it does not take.
  try {
    onnx::checker::check_model(model.proto(), /*full_check=*/true);
    return absl::OkStatus();
  } catch (const onnx::checker::ValidationError& error) {
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 FormatString("the ONNX checker refuses the model: {}", error.what()))
        .With("rule", "onnx checker");
  } catch (const onnx::InferenceError& error) {
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 FormatString("types and shapes do not fit: {}", error.what()))
        .With("rule", "onnx type inference");
  } catch (const std::bad_alloc&) {
    throw;  // not a fact about the model
  } catch (const std::exception& error) {
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 FormatString("the ONNX checker fails: {}", error.what()))
        .With("rule", "onnx checker");
  }
}

}  // namespace modelpress
