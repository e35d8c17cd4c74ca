// Diagonals and sequences: MATRIX_DIAG, MATRIX_SET_DIAG, REVERSE_SEQUENCE (all versions and types).
//
//   MATRIX_DIAG [.., n] -> [.., n, n]: Where(eye, x with a new axis, 0)
//   MATRIX_SET_DIAG -> Where(eye, diagonal with a new axis, input)
//   REVERSE_SEQUENCE -> ReverseSequence, whose two axes have to be the first ones: Transposes where they are not
#include <algorithm>
#include <numeric>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

std::string Eye(OperatorContext& c, int64_t rows, int64_t columns) {
  std::vector<uint8_t> cells(rows * columns, 0);
  for (int64_t i = 0; i < std::min(rows, columns); ++i) cells[i * columns + i] = 1;
  const int64_t dims[] = {rows, columns};
  return c.model().Constant(DataType::kBool, dims, std::as_bytes(std::span(cells)));
}

absl::Status MatrixDiag(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  if (rank < 1 || c.Source(0).shape.back() < 1 || c.Source(0).shape.back() > 8192) {
    return c.Unsupported("the length of its diagonal is not known");
  }
  const int64_t n = c.Source(0).shape.back();
  const DataType type = c.ComputeType(c.Source(0));
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, type));
  const std::string row = c.Add("Unsqueeze", {x, c.model().Int64s({-2})});
  return c.Out(0, c.Add("Where", {Eye(c, n, n), row, c.model().ScalarOf(type, 0)}), type);
}

absl::Status MatrixSetDiag(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  if (rank < 2) return c.Malformed("its input is no matrix");
  const int64_t rows = c.Source(0).shape[rank - 2], columns = c.Source(0).shape[rank - 1];
  if (rows < 1 || columns < 1 || columns > (1 << 26) / rows)
    return c.Unsupported("the shape of its input is not known");
  const DataType type = c.ComputeType(c.Source(0));
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, type));
  MP_ASSIGN_OR_RETURN(std::string diagonal, c.InAs(1, type));
  // Along the columns where the diagonal is as long as they are, else along the rows.
  const int64_t axis = columns <= rows ? -2 : -1;
  diagonal = c.Add("Unsqueeze", {diagonal, c.model().Int64s({axis})});
  return c.Out(0, c.Add("Where", {Eye(c, rows, columns), diagonal, x}), type);
}

absl::Status ReverseSequence(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  const auto& options = c.Options<schema::ReverseSequenceOptions>();
  MP_ASSIGN_OR_RETURN(const int64_t time, c.Axis(options.seq_dim(), rank));
  MP_ASSIGN_OR_RETURN(const int64_t batch, c.Axis(options.batch_dim(), rank));
  if (time == batch) return c.Malformed("its two axes are one");
  MP_ASSIGN_OR_RETURN(std::string x, c.Moved(0));
  MP_ASSIGN_OR_RETURN(const std::string lengths, c.Int64In(1));
  const auto reverse = [&](int64_t time_axis, int64_t batch_axis) {
    return c.Add("ReverseSequence", {x, lengths},
                 {{"time_axis", time_axis}, {"batch_axis", batch_axis}});
  };
  if (time < 2 && batch < 2) return c.OutMoved(0, 0, reverse(time, batch));
  std::vector<int64_t> perm = {batch, time}, back(rank);
  for (int64_t i = 0; i < rank; ++i) {
    if (i != batch && i != time) perm.push_back(i);
  }
  for (int64_t i = 0; i < rank; ++i) back[perm[i]] = i;
  x = c.builder().Transpose(x, perm);
  return c.OutMoved(0, 0, c.builder().Transpose(reverse(1, 0), back));
}

}  // namespace

void RegisterTfliteOperators_diagonal(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::MATRIX_DIAG, MatrixDiag);
  registry.Add(BuiltinOperator::MATRIX_SET_DIAG, MatrixSetDiag);
  registry.Add(BuiltinOperator::REVERSE_SEQUENCE, ReverseSequence);
}

}  // namespace modelpress::tflite
