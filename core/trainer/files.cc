// Inherited files: see files.h.
#include "core/trainer/files.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <string>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/process/child_process.h"

namespace modelpress::trainer {
namespace {

int DescriptorOf(const FileRange& range) {
  return ChildProcess::kFirstDescriptor + static_cast<int>(range.file());
}

// Every range that the request reads.
std::vector<FileRange> Ranges(const TrainRequest& request) {
  std::vector<FileRange> ranges(request.weights().begin(), request.weights().end());
  for (const TrainArray& input : request.inputs()) ranges.push_back(input.data());
  for (const TrainTarget& target : request.targets()) {
    ranges.push_back(target.teacher().data());
    if (target.has_labels()) ranges.push_back(target.labels().data());
  }
  for (const TrainHint& hint : request.hints()) ranges.push_back(hint.teacher().data());
  for (const TrainParameter& parameter : request.parameters()) {
    ranges.push_back(parameter.values());
    if (!parameter.coded()) continue;
    ranges.push_back(parameter.scales());
    ranges.push_back(parameter.zero_points());
  }
  ranges.push_back(request.checkpoint());
  return ranges;
}

}  // namespace

absl::StatusOr<InheritedFiles> InheritedFiles::Open(const TrainRequest& request) {
  InheritedFiles inherited;
  for (const FileRange& range : Ranges(request)) {
    if (range.file() >= inherited.files_.size()) inherited.files_.resize(range.file() + 1);
    auto& file = inherited.files_[range.file()];
    if (file == nullptr && range.length() > 0) {
      MP_ASSIGN_OR_RETURN(
          file, MappedFile::OpenForReading(FormatString("/proc/self/fd/{}", DescriptorOf(range))));
    }
    if (range.length() > 0 &&
        (range.offset() > file->size() || range.length() > file->size() - range.offset())) {
      return Error(ERROR_REASON_INTERNAL_BUG, "the trainer was given a range beyond its file");
    }
  }
  return inherited;
}

std::span<const std::byte> InheritedFiles::Bytes(const FileRange& range) const {
  if (range.length() == 0) return {};
  return files_[range.file()]->bytes().subspan(range.offset(), range.length());
}

at::Tensor InheritedFiles::Floats(const FileRange& range, at::IntArrayRef dims) const {
  return at::from_blob(const_cast<std::byte*>(Bytes(range).data()), dims, at::kFloat);
}

absl::StatusOr<Model> InheritedFiles::ReadModel(const TrainRequest& request) const {
  Model model;
  if (!model.mutable_proto().ParseFromString(request.model())) {
    return Error(ERROR_REASON_INTERNAL_BUG, "the trainer was given no model");
  }
  absl::Status status;
  ForEachTensor(model.mutable_proto(), [&](const TensorSite& site) {
    onnx::TensorProto& tensor = *site.tensor;
    if (tensor.data_location() != onnx::TensorProto::EXTERNAL || !status.ok()) return;
    const std::string& location = tensor.external_data(0).value();
    const size_t number = strtoull(location.c_str() + 1, nullptr, 10);
    if (location[0] != '#' || number >= static_cast<size_t>(request.weights_size())) {
      status = Error(ERROR_REASON_INTERNAL_BUG, "the trainer was given no such weight");
      return;
    }
    const FileRange& range = request.weights(static_cast<int>(number));
    const std::vector<int64_t> dims(tensor.dims().begin(), tensor.dims().end());
    status = model.SetWeight(&tensor, Type(tensor), dims,
                             {files_[range.file()], range.offset(), range.length()});
  });
  if (!status.ok()) return status;
  return model;
}

absl::Status InheritedFiles::Write(const FileRange& range, uint64_t offset,
                                   std::span<const std::byte> bytes) {
  if (offset > range.length() || bytes.size() > range.length() - offset) {
    return Error(ERROR_REASON_INTERNAL_BUG, "the trainer has more to write than there is room");
  }
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t put = pwrite(DescriptorOf(range), bytes.data() + done, bytes.size() - done,
                               static_cast<off_t>(range.offset() + offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) {
      return Error(ERROR_REASON_DISK_FULL,
                   FormatString("the trainer cannot write its values: {}", strerror(errno)))
          .With("errno", strerror(errno));
    }
    done += static_cast<size_t>(put);
  }
  return absl::OkStatus();
}

}  // namespace modelpress::trainer
