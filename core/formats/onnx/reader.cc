// Reading ONNX: see reader.h.
#include "core/formats/onnx/reader.h"

#include <climits>
#include <exception>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/onnx/skeleton.h"
#include "core/formats/onnx/tensor_data.h"
#include "core/formats/onnx/validate.h"
#include "core/formats/onnx/wire.h"
#include "core/model/graph.h"

namespace modelpress::onnx_format {
namespace {

absl::StatusOr<Model> Read(const InputFiles& files, const JobContext& context,
                           uint64_t inline_bytes) {
  MP_ASSIGN_OR_RETURN(Skeleton skeleton,
                      ScanModel(files.main.file->bytes(), inline_bytes, context.cancellation));
  Model model;
  onnx::ModelProto& proto = model.mutable_proto();
  static_assert(kMaxSkeletonBytes + (uint64_t{1} << 28) < INT_MAX);
  if (skeleton.bytes.size() > INT_MAX ||
      !proto.ParseFromArray(skeleton.bytes.data(), static_cast<int>(skeleton.bytes.size()))) {
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 "not a valid ONNX file: a field inside is damaged or nested too deeply")
        .Remedy("the file may be truncated or damaged: copy or export it again");
  }
  skeleton.bytes = std::string();
  MP_RETURN_IF_ERROR(NormaliseVersions(&proto));

  const absl::flat_hash_set<const onnx::TensorProto*> shape_tensors = ShapeTensors(proto);
  WeightArena arena(context.scratch);
  TensorDataReader data(files, skeleton.moved, inline_bytes, &model, &arena);
  absl::Status status;
  uint64_t seen = 0;
  ForEachTensor(proto, [&](const TensorSite& site) {
    if (!status.ok()) return;
    if (context.cancellation != nullptr && ++seen % 256 == 0) {
      status = context.cancellation->Check();
      if (!status.ok()) return;
    }
    status = data.Resolve(site.tensor, shape_tensors.contains(site.tensor));
    if (!status.ok() && site.node != nullptr) {
      status = Annotate(status, "node", site.node->name());
    }
  });
  MP_RETURN_IF_ERROR(status);
  MP_RETURN_IF_ERROR(ValidateStructure(&proto));
  return model;
}

}  // namespace

bool LooksLikeOnnx(std::span<const std::byte> bytes) {
  // ModelProto: 1 ir_version and 5 model_version are varints, all other fields are strings or messages. Every other
  // protobuf model format known differs in the type or range of its first fields (see known_formats.cc).
  constexpr uint32_t kVarints = 1u << 1 | 1u << 5;
  constexpr uint32_t kMessages = 1u << 2 | 1u << 3 | 1u << 4 | 1u << 6 | 1u << 7 | 1u << 8 |
                                 1u << 14 | 1u << 20 | 1u << 25 | 1u << 26;
  bool has_version = false;
  uint64_t position = 0;
  for (int fields = 0; position < bytes.size() && fields < 1000; ++fields) {
    WireCursor cursor(bytes, position, bytes.size());
    WireField field;
    if (!cursor.Next(&field).ok()) {
      // A graph that is cut off: tag 7 of type bytes.
      return has_version && std::to_integer<int>(bytes[position]) == (7 << 3 | 2);
    }
    if (field.number > 31) return false;
    const uint32_t bit = 1u << field.number;
    const bool fits = field.type == WireType::kVarint
                          ? (kVarints & bit) != 0
                          : field.type == WireType::kBytes && (kMessages & bit) != 0;
    if (!fits) return false;
    if (field.number == 1) {
      if (field.value == 0 || field.value > 1000) return false;
      has_version = true;
    }
    if (field.number == 7 && has_version) return true;
    position = field.end();
  }
  // Producer and opset without a graph: still ONNX, and the error is "no graph".
  return has_version && bytes.size() > 2;
}

absl::StatusOr<Model> ReadOnnx(const InputFiles& files, const JobContext& context,
                               uint64_t inline_bytes) {
  try {
    return Read(files, context, inline_bytes);
  } catch (const std::exception& error) {
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 FormatString("reading the model failed: {}", error.what()));
  }
}

}  // namespace modelpress::onnx_format
