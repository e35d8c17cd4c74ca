// Elements by index: GATHER, GATHER_ND, SCATTER_ND, EMBEDDING_LOOKUP, ONE_HOT, SPARSE_TO_DENSE, SEGMENT_SUM,
// UNSORTED_SEGMENT_SUM, _PROD, _MAX, _MIN (all versions, all types; codes stay codes where elements only move).
//
//   GATHER -> Gather; with batch_dims -> GatherND       GATHER_ND -> GatherND       EMBEDDING_LOOKUP -> Gather
//   SCATTER_ND -> ScatterND that adds into zeros: indices that occur twice add up
//   ONE_HOT -> Where(Equal(indices, 0 .. depth-1), on, off): indices out of range, negative ones too, are off everywhere
//   segments -> ScatterND that adds, multiplies or compares into rows of the neutral element; rows of negative ids go to
//     a row that is cut off
#include <algorithm>
#include <limits>
#include <numeric>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

absl::Status GatherAxis(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const auto& options = c.Options<schema::GatherOptions>();
  int64_t axis = options.axis(), batch = options.batch_dims();
  if (axis < 0 || batch < 0) {
    MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
    MP_ASSIGN_OR_RETURN(axis, c.Axis(axis, rank));
    if (batch < 0) batch += c.Rank(1);
  }
  // A table that is read by rows is dequantized by rows.
  const bool table = IsQuantized(c.Source(0)) && !c.MovesCodes(0);
  std::string x;
  if (table && c.Source(0).constant && !c.Source(0).quantization->per_axis() &&
      c.Source(0).quantization->block_size == 0) {
    MP_ASSIGN_OR_RETURN(x, c.Raw(0));
  } else {
    MP_ASSIGN_OR_RETURN(x, c.Moved(0));
  }
  const bool rows_of_codes = table && c.Source(0).constant &&
                             !c.Source(0).quantization->per_axis() &&
                             c.Source(0).quantization->block_size == 0;
  MP_ASSIGN_OR_RETURN(
      const std::string indices,
      c.InAs(1, c.Source(1).type == TensorType::INT64 ? DataType::kInt64 : DataType::kInt32));
  std::string y;
  if (batch == 0) {
    y = c.Add("Gather", {x, indices}, {{"axis", axis}});
  } else {
    MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
    MP_ASSIGN_OR_RETURN(const int index_rank, c.KnownRank(1));
    if (batch > axis || batch > index_rank || axis >= rank)
      return c.Malformed("its axes do not fit its shapes");
    // The axis right behind the batch axes, as GatherND takes it; afterwards the axes between are put back.
    std::vector<int64_t> perm(rank);
    std::iota(perm.begin(), perm.end(), 0);
    std::rotate(perm.begin() + batch, perm.begin() + axis, perm.begin() + axis + 1);
    const std::string turned = c.builder().Transpose(x, perm);
    const std::string column =
        c.Add("Unsqueeze", {c.builder().Cast(indices, DataType::kInt64), c.model().Int64s({-1})});
    y = c.Add("GatherND", {turned, column}, {{"batch_dims", batch}});
    // [batch, index axes, axes between, rest] -> [batch, axes between, index axes, rest]
    const int64_t indexed = index_rank - batch, between = axis - batch;
    std::vector<int64_t> back(rank - 1 + indexed);
    std::iota(back.begin(), back.end(), 0);
    std::rotate(back.begin() + batch, back.begin() + batch + indexed,
                back.begin() + batch + indexed + between);
    y = c.builder().Transpose(y, back);
  }
  if (!rows_of_codes) return c.OutMoved(0, 0, y);
  MP_ASSIGN_OR_RETURN(const std::string real, c.scope().Dequantize(y, c.Source(0), 0));
  return c.Out(0, real);
}

absl::Status GatherNd(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  MP_ASSIGN_OR_RETURN(const std::string indices, c.Int64In(1));
  return c.OutMoved(0, 0, c.Add("GatherND", {x, indices}));
}

// A tensor of `shape` full of one number.
std::string Filled(OperatorContext& c, const std::string& shape, DataType type, double value) {
  // Small ones are constants.
  std::vector<int64_t> dims;
  if (const int bits = BitsPerElement(type);
      bits >= 8 && c.model().ConstantInts(shape, &dims) &&
      std::ranges::all_of(dims, [](int64_t extent) { return extent >= 0; })) {
    const absl::StatusOr<uint64_t> count = ElementCount(dims);
    if (count.ok() && *count <= kInlineBytes * 8 / static_cast<uint64_t>(bits)) {
      if (type == DataType::kFloat)
        return c.model().Floats(std::vector<float>(*count, static_cast<float>(value)), dims);
      if (value == 0) {
        const std::vector<std::byte> zeros(*count * static_cast<uint64_t>(bits) / 8);
        return c.model().Constant(type, dims, zeros);
      }
    }
  }
  return c.Add("Expand", {c.model().ScalarOf(type, value), shape});
}

absl::Status ScatterNd(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  const DataType type = c.ComputeType(c.Source(1));
  MP_ASSIGN_OR_RETURN(const std::string indices, c.Int64In(0));
  MP_ASSIGN_OR_RETURN(const std::string updates, c.InAs(1, type));
  MP_ASSIGN_OR_RETURN(const std::string shape, c.Int64In(2));
  return c.Out(0,
               c.Add("ScatterND", {Filled(c, shape, type, 0), indices, updates},
                     {{"reduction", std::string("add")}}),
               type);
}

// Inputs: ids, table.
absl::Status EmbeddingLookup(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const std::string ids, c.Raw(0));
  const SourceTensor& table = c.Source(1);
  if (!IsQuantized(table)) {
    MP_ASSIGN_OR_RETURN(const std::string rows, c.In(1));
    return c.Out(0, c.Add("Gather", {rows, ids}), c.RealType(table));
  }
  if (table.quantization->per_axis() || table.quantization->block_size > 0) {
    MP_ASSIGN_OR_RETURN(const std::string rows, c.In(1));
    return c.Out(0, c.Add("Gather", {rows, ids}));
  }
  MP_ASSIGN_OR_RETURN(const std::string codes, c.Raw(1));
  MP_ASSIGN_OR_RETURN(const std::string real,
                      c.scope().Dequantize(c.Add("Gather", {codes, ids}), table, 0));
  return c.Out(0, real);
}

// Inputs: indices, depth, on, off.
absl::Status OneHot(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(4, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  const int64_t written = c.Options<schema::OneHotOptions>().axis();
  int64_t axis = rank;
  if (written != -1) {
    MP_ASSIGN_OR_RETURN(axis, c.Axis(written, rank + 1));
  }
  // What the runtime's Where takes.
  const bool as_it_is =
      c.Source(2).type == TensorType::BOOL || c.Source(2).type == TensorType::UINT8;
  const DataType type = as_it_is ? c.RealType(c.Source(2)) : c.ComputeType(c.Source(2));
  const bool narrow = c.Source(0).type == TensorType::INT32;
  const DataType index_type = narrow ? DataType::kInt32 : DataType::kInt64;
  MP_ASSIGN_OR_RETURN(const std::string indices, c.InAs(0, index_type));
  MP_ASSIGN_OR_RETURN(const std::string on, c.InAs(2, type));
  MP_ASSIGN_OR_RETURN(const std::string off, c.InAs(3, type));
  import::ModelBuilder& model = c.model();
  std::string classes;
  std::vector<int64_t> dims(rank + 1, 1);
  if (c.IsConstant(1)) {
    MP_ASSIGN_OR_RETURN(const std::vector<int64_t> depth, c.Ints(1));
    if (depth.size() != 1 || depth[0] < 0 || depth[0] > (1 << 22))
      return c.Malformed("its depth is not valid");
    std::vector<int64_t> numbers(depth[0]);
    std::iota(numbers.begin(), numbers.end(), 0);
    dims[axis] = depth[0];
    const std::vector<int32_t> small(numbers.begin(), numbers.end());
    classes = narrow ? model.Constant(index_type, dims, std::as_bytes(std::span(small)))
                     : model.Constant(index_type, dims, std::as_bytes(std::span(numbers)));
  } else {
    MP_ASSIGN_OR_RETURN(std::string depth, c.Int64In(1));
    if (c.Rank(1) != 0) depth = c.builder().Reshape(depth, {});
    dims[axis] = -1;
    classes = c.builder().Reshape(c.Add("Range", {model.Int64(0), depth, model.Int64(1)}), dims);
    if (narrow) classes = c.builder().Cast(classes, index_type);
  }
  // Broadcasting adds a first axis of itself.
  const std::string column =
      axis == 0 ? indices : c.Add("Unsqueeze", {indices, model.Int64s({axis})});
  const std::string hit = c.Add("Equal", {column, classes});
  if (type == DataType::kBool) {
    const std::string y =
        c.Add("Or", {c.Add("And", {hit, on}), c.Add("And", {c.Add("Not", {hit}), off})});
    return c.Out(0, y, type);
  }
  return c.Out(0, c.Add("Where", {hit, on, off}), type);
}

// Inputs: indices (scalar, [n] or [n, rank]), shape, values, default.
absl::Status SparseToDense(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(4, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  MP_ASSIGN_OR_RETURN(std::string indices, c.Int64In(0));
  MP_ASSIGN_OR_RETURN(const std::string shape, c.Int64In(1));
  MP_ASSIGN_OR_RETURN(std::string values, c.Raw(2));
  MP_ASSIGN_OR_RETURN(const std::string fill, c.Raw(3));
  if (rank < 2) indices = c.builder().Reshape(indices, {-1, 1});
  if (c.Rank(2) == 0) {
    const std::string count = c.builder().Slice(c.Add("Shape", {indices}), {0}, {1}, {0});
    values = c.Add("Expand", {values, count});
  }
  const std::string y = c.Add("ScatterND", {c.Add("Expand", {fill, shape}), indices, values});
  return c.OutRaw(0, y);
}

struct Segments {
  const char* reduction;
  double neutral;
};

// Rows of `data` into `rows` rows; ids are within [0, rows).
absl::Status Reduce(OperatorContext& c, const Segments& kind, const std::string& data,
                    const std::string& ids, const std::string& rows, DataType type, bool cut_last) {
  import::ModelBuilder& model = c.model();
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  MP_ASSIGN_OR_RETURN(const int id_rank, c.KnownRank(1));
  std::string shape = rows;
  if (rank > id_rank) {
    const std::string tail = c.builder().Slice(c.Add("Shape", {data}), {id_rank}, {rank}, {0});
    shape = c.Add("Concat", {rows, tail}, {{"axis", int64_t{0}}});
  }
  const std::string column = c.Add("Unsqueeze", {ids, model.Int64s({-1})});
  std::string y = c.Add("ScatterND", {Filled(c, shape, type, kind.neutral), column, data},
                        {{"reduction", std::string(kind.reduction)}});
  if (cut_last) y = c.builder().Slice(y, {0}, {-1}, {0});
  return c.Out(0, y, type);
}

absl::Status SegmentSum(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const DataType type = c.ComputeType(c.Source(0));
  MP_ASSIGN_OR_RETURN(const std::string data, c.InAs(0, type));
  MP_ASSIGN_OR_RETURN(const std::string ids, c.Int64In(1));
  // Ids are sorted: the last one is the largest.
  const std::string last = c.builder().Slice(ids, {-1}, {std::numeric_limits<int64_t>::max()}, {0});
  return Reduce(c, {"add", 0}, data, ids, c.Add("Add", {last, c.model().Int64(1)}), type,
                /*cut_last=*/false);
}

absl::Status UnsortedSegment(OperatorContext& c, Segments kind) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  const DataType type = c.ComputeType(c.Source(0));
  if (type == DataType::kInt32 && kind.neutral != 0 && kind.neutral != 1) {
    kind.neutral = kind.neutral < 0 ? std::numeric_limits<int32_t>::min()
                                    : std::numeric_limits<int32_t>::max();
  } else if (type != DataType::kFloat && type != DataType::kInt32) {
    return c.Unsupported("its type is neither float32 nor int32");
  }
  MP_ASSIGN_OR_RETURN(const std::string data, c.InAs(0, type));
  MP_ASSIGN_OR_RETURN(std::string ids, c.Int64In(1));
  MP_ASSIGN_OR_RETURN(std::string rows, c.Int64In(2));
  rows = c.builder().Reshape(rows, {1});
  bool negative = true;
  if (c.IsConstant(1)) {
    MP_ASSIGN_OR_RETURN(const std::vector<int64_t> values, c.Ints(1));
    negative = std::ranges::any_of(values, [](int64_t id) { return id < 0; });
  }
  if (negative) {
    ids = c.Add("Where", {c.Add("Less", {ids, c.model().Int64(0)}), rows, ids});
    rows = c.Add("Add", {rows, c.model().Int64(1)});
  }
  return Reduce(c, kind, data, ids, rows, type, negative);
}

constexpr double kLargest = std::numeric_limits<float>::max();

}  // namespace

void RegisterTfliteOperators_gather(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::GATHER, GatherAxis);
  registry.Add(BuiltinOperator::GATHER_ND, GatherNd);
  registry.Add(BuiltinOperator::SCATTER_ND, ScatterNd);
  registry.Add(BuiltinOperator::EMBEDDING_LOOKUP, EmbeddingLookup);
  registry.Add(BuiltinOperator::ONE_HOT, OneHot);
  registry.Add(BuiltinOperator::SPARSE_TO_DENSE, SparseToDense);
  registry.Add(BuiltinOperator::SEGMENT_SUM, SegmentSum);
  registry.Add(BuiltinOperator::UNSORTED_SEGMENT_SUM,
               [](OperatorContext& c) { return UnsortedSegment(c, {"add", 0}); });
  registry.Add(BuiltinOperator::UNSORTED_SEGMENT_PROD,
               [](OperatorContext& c) { return UnsortedSegment(c, {"mul", 1}); });
  registry.Add(BuiltinOperator::UNSORTED_SEGMENT_MAX,
               [](OperatorContext& c) { return UnsortedSegment(c, {"max", -kLargest}); });
  registry.Add(BuiltinOperator::UNSORTED_SEGMENT_MIN,
               [](OperatorContext& c) { return UnsortedSegment(c, {"min", kLargest}); });
}

}  // namespace modelpress::tflite
