// The files of a model on the caller's own disk: the command line offers the ones that the model names.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/formats/format.h"

namespace modelpress {

// Opens the model at `path` and, if it is ONNX with external data or an index of safetensors shards, the plain files in its
// own folder (or below) that it names. This is for callers who own the disk; a server only ever sees blobs. Symbolic links, absolute names and
// ".." are not followed: such files are left out, and reading the model then says which tensor misses them.
// FILE_ACCESS if the model itself cannot be opened.
absl::StatusOr<InputFiles> OpenModelFiles(const std::string& path);

// Names of the sidecars that an ONNX file's external data asks for, as written in the file, in order of first use;
// empty for anything that does not scan as ONNX.
std::vector<std::string> ExternalDataNames(const InputFile& model);

}  // namespace modelpress
