// Where a result goes: made in a hidden folder beside its place, put there in one step when it is complete.
#pragma once

#include <memory>
#include <string>

#include "client/job/interrupt.h"
#include "core/base/status.h"
#include "google/protobuf/repeated_field.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {

class OutputFiles {
 public:
  // `path` is the main file's. OUTPUT_EXISTS unless `force`; FILE_ACCESS if the folder cannot be written to. Fails
  // before any work is done.
  static absl::StatusOr<std::unique_ptr<OutputFiles>> Prepare(const std::string& path, bool force);
  // Removes what was not published.
  ~OutputFiles();

  // The hidden folder, on the same file system.
  const std::string& folder() const { return folder_; }
  // File name of the main file.
  const std::string& name() const { return name_; }
  // Moves the files (all in folder(), main first, synced) to their place: sidecars before the model, so that a crash
  // never pairs an old model with new weights. A sidecar's name has its digest: one that is there already is equal.
  absl::Status Publish(const google::protobuf::RepeatedPtrField<ArtifactFile>& files);

 private:
  OutputFiles(std::string parent, std::string name, std::string folder, bool force);

  std::string parent_;
  std::string name_;
  std::string folder_;
  bool force_;
  InterruptGuard guard_;
};

// Writes a small file (a report) the same way: temporary name, sync, rename.
absl::Status WriteTextFile(const std::string& path, std::string_view text);

}  // namespace modelpress
