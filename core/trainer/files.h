// The files that the trainer inherits: tensors that lie in them, and results written to them.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/base/mapped_file.h"
#include "core/base/status.h"
#include "core/model/model.h"
#include "core/trainer/aten.h"
#include "modelpress/v1/trainer.pb.h"

namespace modelpress::trainer {

// Thread-safe for reading.
class InheritedFiles {
 public:
  // Opens those that the request names. INTERNAL_BUG where one is not there or too short.
  static absl::StatusOr<InheritedFiles> Open(const TrainRequest& request);

  std::span<const std::byte> Bytes(const FileRange& range) const;
  // float32 values of these extents that refer to the file.
  at::Tensor Floats(const FileRange& range, at::IntArrayRef dims) const;
  // The model of the request; its weights refer to the files.
  absl::StatusOr<Model> ReadModel(const TrainRequest& request) const;
  // Writes at the beginning of the range. DISK_FULL with errno otherwise.
  static absl::Status Write(const FileRange& range, uint64_t offset,
                            std::span<const std::byte> bytes);

 private:
  // By number.
  std::vector<std::shared_ptr<const MappedFile>> files_;
};

}  // namespace modelpress::trainer
