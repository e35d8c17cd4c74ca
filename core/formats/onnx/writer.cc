// Writing ONNX: see writer.h.
#include "core/formats/onnx/writer.h"

#include <exception>
#include <map>
#include <tuple>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/onnx/splice.h"
#include "core/formats/onnx/wire.h"
#include "core/formats/output_file.h"
#include "core/model/graph.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress::onnx_format {
namespace {

// Large weights start on page boundaries so that readers can map each on its own; the padding is at most 0.4 % there.
constexpr uint64_t kLargeWeightBytes = 1 << 20;
constexpr uint64_t kLargeAlignment = 4096;
constexpr uint64_t kSmallAlignment = 64;

absl::Status AppendEntry(std::string_view key, std::string_view value, std::string* out) {
  onnx::StringStringEntryProto entry;
  entry.set_key(std::string(key));
  entry.set_value(std::string(value));
  std::string bytes;
  if (!entry.SerializeToString(&bytes)) {
    return Error(ERROR_REASON_INTERNAL_BUG, "serialising an entry failed");
  }
  AppendTag(kTensorExternalData, WireType::kBytes, out);
  AppendVarint(bytes.size(), out);
  *out += bytes;
  return absl::OkStatus();
}

Replacement InlineReplacement(const WeightRef& weight) {
  Replacement replacement;
  AppendTag(kTensorRawData, WireType::kBytes, &replacement.fields);
  AppendVarint(weight.length, &replacement.fields);
  replacement.tail = weight.bytes();
  return replacement;
}

// A weight's place in the sidecar.
struct Placement {
  const WeightRef* weight = nullptr;
  uint64_t offset = 0;
};

class Writer {
 public:
  Writer(const Model& model, const std::string& folder, const std::string& file_name,
         uint64_t inline_bytes, const JobContext& context)
      : model_(model),
        folder_(folder),
        file_name_(file_name),
        inline_bytes_(inline_bytes),
        context_(context) {}

  absl::StatusOr<std::vector<ArtifactFile>> Write(Output::Layout layout) {
    MP_RETURN_IF_ERROR(Serialise());
    replacements_.reserve(model_.weights().size());
    for (const WeightRef& weight : model_.weights()) {
      replacements_.push_back(InlineReplacement(weight));
    }
    MP_ASSIGN_OR_RETURN(SplicedModel spliced, Splice(Skeleton(), replacements_));
    if (spliced.size > kMaxInlineFileBytes && layout == Output::LAYOUT_INLINE) {
      return Error(
                 ERROR_REASON_MODEL_LIMIT,
                 FormatString("the model takes {} bytes; a single ONNX file cannot have more than "
                              "{}",
                              spliced.size, kMaxInlineFileBytes))
          .With("limit", std::to_string(kMaxInlineFileBytes))
          .Remedy("write it with a sidecar: output layout LAYOUT_SIDECAR or LAYOUT_AUTO");
    }
    if (layout == Output::LAYOUT_SIDECAR || spliced.size > kMaxInlineFileBytes) {
      MP_RETURN_IF_ERROR(WriteSidecar());
      // Splicing again costs O(skeleton): the first result has the sizes of inline weights.
      MP_ASSIGN_OR_RETURN(spliced, Splice(Skeleton(), replacements_));
    }
    MP_RETURN_IF_ERROR(WriteMain(spliced));
    return std::move(files_);
  }

  double sync_seconds() const { return sync_seconds_; }

 private:
  std::span<const std::byte> Skeleton() const { return std::as_bytes(std::span(skeleton_)); }

  absl::Status Serialise() {
    google::protobuf::io::StringOutputStream stream(&skeleton_);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    if (!model_.proto().SerializeToCodedStream(&coded)) {
      return Error(ERROR_REASON_MODEL_LIMIT, "the model without its weights is too large to write");
    }
    return absl::OkStatus();
  }

  // Tensors in the order of the walk; weights that are one (tied) are stored once.
  absl::Status WriteSidecar() {
    std::vector<Placement> placements;
    uint64_t size = 0;
    std::map<std::tuple<const MappedFile*, uint64_t, uint64_t>, uint64_t> placed;
    std::vector<std::pair<size_t, uint64_t>> external;  // weight index, offset
    const auto shape_tensors = ShapeTensors(model_.proto());
    ForEachTensor(model_.proto(), [&](const onnx::TensorProto& tensor) {
      const WeightRef* weight = model_.Weight(tensor);
      if (weight == nullptr || weight->length <= inline_bytes_ || shape_tensors.contains(&tensor)) {
        return;
      }
      const auto key = std::make_tuple(weight->file.get(), weight->offset, weight->length);
      auto [found, is_new] = placed.try_emplace(key, 0);
      if (is_new) {
        const uint64_t alignment =
            weight->length >= kLargeWeightBytes ? kLargeAlignment : kSmallAlignment;
        size = (size + alignment - 1) / alignment * alignment;
        found->second = size;
        placements.push_back({weight, size});
        size += weight->length;
      }
      external.emplace_back(weight - model_.weights().data(), found->second);
    });
    if (placements.empty()) return absl::OkStatus();

    MP_ASSIGN_OR_RETURN(auto file, OutputFile::Create(folder_, size, context_.cancellation));
    for (const Placement& placement : placements) {
      MP_RETURN_IF_ERROR(file->AppendZeros(placement.offset - file->size()));
      MP_RETURN_IF_ERROR(file->Append(placement.weight->bytes()));
    }
    MP_ASSIGN_OR_RETURN(const std::string digest, file->Finish());
    const std::string name = "weights-" + digest.substr(0, 16) + ".data";
    MP_RETURN_IF_ERROR(Publish(file.get(), name, digest));
    MP_RETURN_IF_ERROR(SyncFolder(folder_));

    for (const auto& [index, offset] : external) {
      Replacement& replacement = replacements_[index];
      replacement = {};
      MP_RETURN_IF_ERROR(AppendEntry("location", name, &replacement.fields));
      MP_RETURN_IF_ERROR(AppendEntry("offset", std::to_string(offset), &replacement.fields));
      MP_RETURN_IF_ERROR(AppendEntry("length", std::to_string(model_.weights()[index].length),
                                     &replacement.fields));
      AppendTag(kTensorDataLocation, WireType::kVarint, &replacement.fields);
      AppendVarint(onnx::TensorProto::EXTERNAL, &replacement.fields);
    }
    return absl::OkStatus();
  }

  absl::Status WriteMain(const SplicedModel& spliced) {
    MP_ASSIGN_OR_RETURN(auto file,
                        OutputFile::Create(folder_, spliced.size, context_.cancellation));
    for (const std::span<const std::byte> piece : spliced.pieces) {
      MP_RETURN_IF_ERROR(file->Append(piece));
    }
    MP_ASSIGN_OR_RETURN(const std::string digest, file->Finish());
    MP_RETURN_IF_ERROR(Publish(file.get(), file_name_, digest));
    return SyncFolder(folder_);
  }

  absl::Status Publish(OutputFile* file, const std::string& name, const std::string& digest) {
    MP_RETURN_IF_ERROR(file->Publish(name));
    sync_seconds_ += file->sync_seconds();
    ArtifactFile artifact;
    artifact.set_name(name);
    artifact.set_size_bytes(file->size());
    artifact.set_sha256(digest);
    // The main file is written last but listed first.
    files_.insert(files_.begin(), std::move(artifact));
    return absl::OkStatus();
  }

  const Model& model_;
  const std::string& folder_;
  const std::string& file_name_;
  const uint64_t inline_bytes_;
  const JobContext& context_;
  std::string skeleton_;
  std::vector<Replacement> replacements_;
  std::vector<ArtifactFile> files_;
  double sync_seconds_ = 0;
};

}  // namespace

absl::StatusOr<std::vector<ArtifactFile>> WriteOnnx(const Model& model, const Output& options,
                                                    const std::string& folder,
                                                    const std::string& file_name,
                                                    const JobContext& context, double* sync_seconds,
                                                    uint64_t inline_bytes) {
  try {
    Writer writer(model, folder, file_name, inline_bytes, context);
    absl::StatusOr<std::vector<ArtifactFile>> files = writer.Write(options.layout());
    if (sync_seconds != nullptr) *sync_seconds = writer.sync_seconds();
    return files;
  } catch (const std::exception& error) {
    return Error(ERROR_REASON_INTERNAL_BUG,
                 FormatString("writing the model failed: {}", error.what()));
  }
}

}  // namespace modelpress::onnx_format
