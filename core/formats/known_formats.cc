// Naming files of other formats by their bytes, so that a refusal says what the file is and what to do about it.
//
// Nothing is parsed beyond a few fixed fields; names of ZIP entries are found as plain text in the central directory's
// part of the file (their bytes are stored verbatim there).
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/formats/format.h"
#include "core/formats/onnx/wire.h"

namespace modelpress {
namespace {

using Bytes = std::span<const std::byte>;

std::string_view Text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string_view Head(Bytes bytes, size_t count) {
  return Text(bytes.first(std::min(bytes.size(), count)));
}

bool StartsWith(Bytes bytes, std::string_view magic) { return Text(bytes).starts_with(magic); }

KnownFormat Named(std::string name) {
  return {name, "convert it to ONNX with its framework's exporter and send that"};
}

// The central directory stands at the end of an archive.
KnownFormat IdentifyZip(Bytes bytes) {
  constexpr size_t kTail = 4 << 20;
  const std::string_view tail = Text(bytes.last(std::min(bytes.size(), kTail)));
  const auto has = [&](std::string_view entry) { return tail.contains(entry); };
  if (has("model.weights.h5") && has("config.json")) {
    return {"Keras (.keras)", "export it: tf2onnx, or model.export(..., format=\"onnx\")"};
  }
  if (has("constants.pkl") || has("/code/")) {
    return {"TorchScript",
            "it is a program of its own language: export the module again with "
            "torch.export.save(torch.export.export(...), "
            "\"model.pt2\") and send that"};
  }
  if (has("Manifest.json") && has(".mlmodel")) return Named("Core ML package");
  if (has(".npy")) return {"NumPy archive (.npz)", "this is data, not a model: pass it as data"};
  return {"ZIP archive", "unpack it and send the model inside"};
}

// The fields at the start of a protobuf message; empty if they do not read as one.
std::vector<onnx_format::WireField> FirstFields(Bytes bytes, size_t count) {
  std::vector<onnx_format::WireField> fields;
  onnx_format::WireCursor cursor(bytes, 0, bytes.size());
  while (fields.size() < count && !cursor.done()) {
    onnx_format::WireField field;
    if (!cursor.Next(&field).ok()) return {};
    fields.push_back(field);
  }
  return fields;
}

KnownFormat IdentifyProtobuf(Bytes bytes) {
  using onnx_format::WireType;
  const auto fields = FirstFields(bytes, 4);
  if (fields.empty()) return {};
  const auto& first = fields[0];
  // saved_model.proto: 1 saved_model_schema_version = 1, 2 meta_graphs.
  if (fields.size() >= 2 && first.number == 1 && first.type == WireType::kVarint &&
      first.value == 1 && fields[1].number == 2 && fields[1].type == WireType::kBytes &&
      fields[1].length > 64 && std::all_of(fields.begin() + 1, fields.end(), [](const auto& field) {
        return field.number == 2;
      })) {
    return {"TensorFlow SavedModel", "convert it with tf2onnx (--saved-model) and send that"};
  }
  // CoreML's Model.proto: 1 specificationVersion, 2 description, then one field from 200 up.
  if (fields.size() >= 3 && first.number == 1 && first.type == WireType::kVarint &&
      fields[1].number == 2 && fields[2].number >= 10) {
    return Named("Core ML model");
  }
  // graph.proto: 1 node { 1 name, 2 op }.
  if (first.number == 1 && first.type == WireType::kBytes && first.length >= 4) {
    const auto inner = FirstFields(bytes.subspan(first.payload, first.length), 2);
    if (inner.size() == 2 && inner[0].number == 1 && inner[0].type == WireType::kBytes &&
        inner[1].number == 2 && inner[1].type == WireType::kBytes && inner[1].length < 64) {
      return {"TensorFlow GraphDef", "convert it with tf2onnx (--graphdef) and send that"};
    }
  }
  return {};
}

}  // namespace

KnownFormat IdentifyKnownFormat(std::span<const std::byte> bytes) {
  if (StartsWith(bytes, "\x89HDF\r\n\x1a\n")) {
    return {"HDF5 (Keras .h5)", "convert it with tf2onnx (--keras) and send that"};
  }
  if (StartsWith(bytes, "PK\x03\x04") || StartsWith(bytes, "PK\x05\x06")) return IdentifyZip(bytes);
  if (StartsWith(bytes, "GGUF")) {
    return {"GGUF", "it is compressed already; use llama.cpp's own tools"};
  }
  if (StartsWith(bytes, "7767517\n") || StartsWith(bytes, "7767517\r\n")) {
    return {"ncnn/pnnx parameters", "send the ONNX model that it was converted from"};
  }
  // The file identifier of ExecuTorch's program.fbs.
  if (bytes.size() >= 8 && Text(bytes.subspan(4, 4)).starts_with("ET1")) {
    return {
        "ExecuTorch (.pte)",
        "it is compiled for its runtime: send the exported program (.pt2) that it was made from"};
  }
  if (bytes.size() >= 8 && Text(bytes.subspan(4, 4)) == "ORTM") {
    return {"ONNX Runtime (.ort)", "send the ONNX model that it was made from"};
  }
  if (StartsWith(bytes, "\x93NUMPY")) {
    return {"NumPy array (.npy)", "this is data, not a model: pass it as data"};
  }
  if (StartsWith(bytes, "\x1f\x8b")) return {"gzip", "unpack it and send the model inside"};
  if (StartsWith(bytes, "\x28\xb5\x2f\xfd")) return {"zstd", "unpack it and send the model inside"};
  if (StartsWith(bytes, "<?xml") && Head(bytes, 4096).contains("<net")) {
    return {"OpenVINO IR", "send the ONNX model that it was converted from"};
  }
  // Pickle protocols 2 to 5.
  if (bytes.size() >= 2 && std::to_integer<int>(bytes[0]) == 0x80 &&
      std::to_integer<int>(bytes[1]) >= 2 && std::to_integer<int>(bytes[1]) <= 5) {
    return {"Python pickle (old .pth, scikit-learn)",
            "pickles are programs and are never read: export the model to ONNX"};
  }
  return IdentifyProtobuf(bytes);
}

}  // namespace modelpress
