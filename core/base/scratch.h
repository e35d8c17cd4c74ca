// The scratch folder: the only place on disk where modelpress makes files of its own accord. It has a quota.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "core/base/mapped_file.h"

namespace modelpress {

class Scratch {
 public:
  // Uses `folder`, made if missing. `quota_bytes` 0: no quota. With `wipe`, what an earlier process left is removed.
  static absl::StatusOr<std::unique_ptr<Scratch>> Open(const std::string& folder,
                                                       uint64_t quota_bytes, bool wipe);
  // A fresh folder under $TMPDIR (default /tmp), removed with everything in it at destruction.
  static absl::StatusOr<std::unique_ptr<Scratch>> Temporary(uint64_t quota_bytes);
  ~Scratch();

  // An unnamed mapped file, counted against the quota until its last reference is gone. SCRATCH_FULL names needed and
  // available bytes.
  absl::StatusOr<std::shared_ptr<MappedFile>> NewFile(uint64_t size);

  const std::string& folder() const { return folder_; }
  uint64_t used_bytes() const;
  uint64_t quota_bytes() const { return quota_bytes_; }

 private:
  struct Usage;
  Scratch(std::string folder, uint64_t quota_bytes, bool remove_at_end);

  std::string folder_;
  uint64_t quota_bytes_;
  bool remove_at_end_;
  std::shared_ptr<Usage> usage_;
};

}  // namespace modelpress
