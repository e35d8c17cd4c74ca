// A ZIP archive that nobody vouches for: see zip_archive.h.
#include "core/base/zip_archive.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/base/format_string.h"

namespace modelpress {
namespace {

constexpr zip_int64_t kMaxEntries = 1'000'000;
constexpr size_t kMaxNameBytes = 1024;
// Deflate cannot expand more (zlib technical details: 1032:1); a little more for the last block.
constexpr uint64_t kMaxDeflateRatio = 1032;

bool IsSafeName(std::string_view name) {
  if (name.empty() || name.size() > kMaxNameBytes || name.front() == '/') return false;
  if (name.find('\\') != std::string_view::npos || name.find('\0') != std::string_view::npos) {
    return false;
  }
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ZipArchive>> ZipArchive::Open(std::span<const std::byte> bytes,
                                                             ErrorReason reason,
                                                             std::string label) {
  auto archive = std::unique_ptr<ZipArchive>(new ZipArchive(bytes, reason, std::move(label)));
  MP_RETURN_IF_ERROR(archive->Load());
  return archive;
}

Error ZipArchive::Bad(std::string_view what) const {
  return Error(reason_, FormatString("{}: {}", label_, what));
}

absl::Status ZipArchive::Load() {
  if (absl::Status status = source_.Open(); !status.ok()) return Bad(std::string(status.message()));
  const zip_int64_t count = zip_get_num_entries(source_.archive(), 0);
  if (count > kMaxEntries) {
    return Bad(FormatString("the archive has more than {} entries", kMaxEntries));
  }
  for (zip_int64_t i = 0; i < count; ++i) {
    MP_RETURN_IF_ERROR(AddEntry(static_cast<uint64_t>(i)));
  }
  return CheckOverlaps();
}

absl::Status ZipArchive::AddEntry(uint64_t index) {
  zip_stat_t stat;
  constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
                                   ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
  if (zip_stat_index(source_.archive(), index, 0, &stat) != 0 ||
      (stat.valid & kNeeded) != kNeeded) {
    return Bad(FormatString("entry {} of the archive cannot be read", index));
  }
  const std::string name = stat.name;
  if (name.ends_with('/')) return absl::OkStatus();  // a folder
  if (!IsSafeName(name)) {
    return Bad(
        FormatString("the archive holds the name '{}', which is no plain relative path", name));
  }
  if (stat.encryption_method != ZIP_EM_NONE) return Bad(FormatString("'{}' is encrypted", name));
  if (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE) {
    return Bad(
        FormatString("'{}' is compressed by method {}, not deflate", name, stat.comp_method));
  }
  Entry entry{.index = index,
              .stored_size = stat.comp_size,
              .size = stat.size,
              .compressed = stat.comp_method == ZIP_CM_DEFLATE};
  if (entry.compressed ? entry.size / kMaxDeflateRatio > entry.stored_size + 1
                       : entry.size != entry.stored_size) {
    return Bad(FormatString("'{}' claims {} bytes from {} stored ones", name, entry.size,
                            entry.stored_size));
  }
  if (entry.stored_size > 0) {
    const absl::StatusOr<uint64_t> offset = source_.DataOffset(index);
    if (!offset.ok()) return Bad(std::string(offset.status().message()));
    entry.offset = *offset;
    if (entry.offset > source_.bytes().size() ||
        entry.stored_size > source_.bytes().size() - entry.offset) {
      return Bad(FormatString("'{}' runs past the end of the archive", name));
    }
  }
  if (!entries_.emplace(name, entry).second) {
    return Bad(FormatString("the archive holds '{}' twice", name));
  }
  return absl::OkStatus();
}

absl::Status ZipArchive::CheckOverlaps() const {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const auto& [name, entry] : entries_) {
    if (entry.stored_size > 0) {
      ranges.emplace_back(entry.offset, entry.offset + entry.stored_size);
    }
  }
  std::ranges::sort(ranges);
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second) return Bad("entries of the archive overlap");
  }
  return absl::OkStatus();
}

const ZipArchive::Entry* ZipArchive::Find(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

absl::Status ZipArchive::Expand(std::string_view name, const Entry& entry,
                                std::span<std::byte> out) const {
  const std::lock_guard lock(mutex_);
  zip_file_t* file = zip_fopen_index(source_.archive(), entry.index, 0);
  bool complete = file != nullptr && out.size() == entry.size;
  for (uint64_t at = 0; complete && at < out.size();) {
    const zip_int64_t got = zip_fread(file, out.data() + at, out.size() - at);
    complete = got > 0;
    if (complete) at += static_cast<uint64_t>(got);
  }
  // The read at the end checks the CRC, and finds bytes beyond the declared size.
  char more;
  complete = complete && zip_fread(file, &more, 1) == 0;
  if (file != nullptr) zip_fclose(file);
  if (complete) return absl::OkStatus();
  return Bad(FormatString("'{}' is damaged: it does not expand to {} bytes with the right checksum",
                          name, entry.size));
}

}  // namespace modelpress
