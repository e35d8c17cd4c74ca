// A folder of samples as one stored ZIP: how a data set travels to a server.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace modelpress {

// Writes every regular file below `folder` into a new ZIP at `path`, uncompressed (arrays can then be mapped where they
// are), under its relative name, in name order and with a fixed time: the same folder gives the same bytes. Symbolic
// links and hidden names are left out. FILE_ACCESS, DISK_FULL; DATA_INVALID for a folder without files or with more
// than 1,000,000.
absl::Status WriteStoredZip(const std::string& folder, const std::string& path);

}  // namespace modelpress
