// A folder of samples as one stored ZIP: how a data set travels to a server.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace modelpress {

// Writes the data files of `folder` (see ListDataFiles in file_tree.h: the files that reading the folder itself would
// find) into a new ZIP at `path`, uncompressed, so that arrays can be mapped where they are; under their relative names,
// in name order and with a fixed time: the same folder gives the same bytes. FILE_ACCESS, DISK_FULL; DATA_INVALID for a
// folder without samples, with a link that leads out of it, or with more than 1,000,000 files.
absl::Status WriteStoredZip(const std::string& folder, const std::string& path);

}  // namespace modelpress
