// Spectra: RFFT2D, COMPLEX_ABS, REAL, IMAG (all versions, complex64).
//
// ONNX tensors have no complex numbers: a complex tensor is one of float32 with a last axis of two.
//   RFFT2D -> DFT over the last axis (real input, one side), then over the one before unless both extents are 1
//   COMPLEX_ABS -> ReduceL2 over the last axis            REAL, IMAG -> Gather from it
#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

absl::Status Rfft2D(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  if (rank < 2) return c.Malformed("its input has less than two axes");
  MP_ASSIGN_OR_RETURN(const std::vector<int64_t> lengths, c.Ints(1));
  if (lengths.size() != 2 || lengths[0] < 1 || lengths[1] < 1)
    return c.Malformed("its lengths are not valid");
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  import::ModelBuilder& model = c.model();
  std::string y = c.Add("Unsqueeze", {x, model.Int64s({-1})});
  y = c.Add("DFT", {y, model.Int64(lengths[1]), model.Int64(-2)}, {{"onesided", int64_t{1}}});
  if (lengths[0] != 1 || c.Source(0).shape[rank - 2] != 1) {
    y = c.Add("DFT", {y, model.Int64(lengths[0]), model.Int64(-3)});
  }
  return c.OutRaw(0, y);
}

absl::Status ComplexAbs(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Raw(0));
  return c.Out(0, c.Add("ReduceL2", {x, c.model().Int64s({-1})}, {{"keepdims", int64_t{0}}}));
}

absl::Status Part(OperatorContext& c, int64_t part) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Raw(0));
  return c.Out(0, c.Add("Gather", {x, c.model().Int64(part)}, {{"axis", int64_t{-1}}}));
}

}  // namespace

void RegisterTfliteOperators_fourier(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::RFFT2D, Rfft2D);
  registry.Add(BuiltinOperator::COMPLEX_ABS, ComplexAbs);
  registry.Add(BuiltinOperator::REAL, [](OperatorContext& c) { return Part(c, 0); });
  registry.Add(BuiltinOperator::IMAG, [](OperatorContext& c) { return Part(c, 1); });
}

}  // namespace modelpress::tflite
