// Where a training stands, in a file that outlives the trainer.
//
// The file has two halves that are written in turns, so that a trainer killed while it writes leaves the other one whole:
//
//   magic "MPCKPT1\0", sequence, bytes of the state, bytes of the tensors, CRC-32C of both;  state;  tensors
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/trainer/files.h"

namespace modelpress::trainer {

class CheckpointFile {
 public:
  explicit CheckpointFile(const FileRange& range);

  // Writes the older half.
  absl::Status Save(const std::string& state, const std::vector<at::Tensor>& tensors);
  // Copies the newest whole half into `tensors`, which are like those saved, and returns its state; nothing if there is
  // none.
  std::optional<std::string> Load(const InheritedFiles& files,
                                  const std::vector<at::Tensor>& tensors);

 private:
  FileRange Half(uint64_t number) const;

  FileRange range_;
  uint64_t sequence_ = 0;
};

}  // namespace modelpress::trainer
