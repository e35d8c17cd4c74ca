// A data set's files in a ZIP archive: see file_tree.h.
#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/data/file_tree.h"
#include "core/data/zip_source.h"

namespace modelpress {
namespace {

constexpr zip_int64_t kMaxEntries = 1'000'000;
constexpr size_t kMaxNameBytes = 1024;
// Deflate cannot expand more (zlib technical details: 1032:1); a little more for the last block.
constexpr uint64_t kMaxDeflateRatio = 1032;

struct Entry {
  uint64_t index = 0;
  uint64_t offset = 0;
  uint64_t stored_size = 0;
  uint64_t size = 0;
  bool compressed = false;
};

Error Bad(std::string_view label, std::string_view what) {
  return Error(ERROR_REASON_DATA_INVALID, FormatString("{}: {}", label, what));
}

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

class ZipTree : public FileTree {
 public:
  ZipTree(SharedBytes archive, std::string label, Scratch* scratch)
      : source_(std::move(archive)), label_(std::move(label)), scratch_(scratch) {}

  const std::vector<std::string>& names() const override { return names_; }
  const std::string& label() const override { return label_; }

  absl::Status Load() {
    if (absl::Status status = source_.Open(); !status.ok())
      return Bad(label_, std::string(status.message()));
    const zip_int64_t count = zip_get_num_entries(source_.archive(), 0);
    if (count > kMaxEntries) {
      return Bad(label_, FormatString("the archive has more than {} entries", kMaxEntries));
    }
    for (zip_int64_t i = 0; i < count; ++i) {
      MP_RETURN_IF_ERROR(AddEntry(static_cast<uint64_t>(i)));
    }
    for (const auto& [name, entry] : entries_) {
      if (IsDataFile(name)) names_.push_back(name);
    }
    return CheckOverlaps();
  }

  absl::StatusOr<SharedBytes> Open(std::string_view name) const override {
    const auto found = entries_.find(name);
    if (found == entries_.end()) return Bad(label_, FormatString("has no entry '{}'", name));
    const Entry& entry = found->second;
    if (entry.compressed) return Expand(found->first, entry);
    return SharedBytes{source_.bytes().subspan(entry.offset, entry.size), source_.owner()};
  }

 private:
  absl::Status AddEntry(uint64_t index) {
    zip_stat_t stat;
    constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
                                     ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if (zip_stat_index(source_.archive(), index, 0, &stat) != 0 ||
        (stat.valid & kNeeded) != kNeeded) {
      return Bad(label_, FormatString("entry {} of the archive cannot be read", index));
    }
    const std::string name = stat.name;
    if (name.ends_with('/')) return absl::OkStatus();  // a folder
    if (!IsSafeName(name)) {
      return Bad(label_, FormatString("the archive holds the name '{}', which is no plain relative "
                                      "path",
                                      name));
    }
    if (stat.encryption_method != ZIP_EM_NONE) {
      return Bad(label_, FormatString("'{}' is encrypted", name));
    }
    if (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE) {
      return Bad(label_, FormatString("'{}' is compressed by method {}, not deflate", name,
                                      stat.comp_method));
    }
    Entry entry{.index = index,
                .stored_size = stat.comp_size,
                .size = stat.size,
                .compressed = stat.comp_method == ZIP_CM_DEFLATE};
    if (entry.compressed ? entry.size / kMaxDeflateRatio > entry.stored_size + 1
                         : entry.size != entry.stored_size) {
      return Bad(label_, FormatString("'{}' claims {} bytes from {} stored ones", name, entry.size,
                                      entry.stored_size));
    }
    if (entry.stored_size > 0) {
      MP_ASSIGN_OR_RETURN(entry.offset, source_.DataOffset(index));
      if (entry.offset > source_.bytes().size() ||
          entry.stored_size > source_.bytes().size() - entry.offset) {
        return Bad(label_, FormatString("'{}' runs past the end of the archive", name));
      }
    }
    if (!entries_.emplace(name, entry).second) {
      return Bad(label_, FormatString("the archive holds '{}' twice", name));
    }
    return absl::OkStatus();
  }

  // Entries that share bytes make a small archive expand without bound (Fifield, "A better zip bomb", 2019).
  absl::Status CheckOverlaps() const {
    std::vector<std::pair<uint64_t, uint64_t>> ranges;
    for (const auto& [name, entry] : entries_) {
      if (entry.stored_size > 0) {
        ranges.emplace_back(entry.offset, entry.offset + entry.stored_size);
      }
    }
    std::ranges::sort(ranges);
    for (size_t i = 1; i < ranges.size(); ++i) {
      if (ranges[i].first < ranges[i - 1].second) {
        return Bad(label_, "entries of the archive overlap");
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<SharedBytes> Expand(const std::string& name, const Entry& entry) const {
    MP_ASSIGN_OR_RETURN(std::shared_ptr<MappedFile> target, scratch_->NewFile(entry.size));
    const std::lock_guard lock(mutex_);  // libzip's archives are not thread-safe
    zip_file_t* file = zip_fopen_index(source_.archive(), entry.index, 0);
    bool complete = file != nullptr;
    const std::span<std::byte> bytes = target->mutable_bytes();
    for (uint64_t at = 0; complete && at < bytes.size();) {
      const zip_int64_t got = zip_fread(file, bytes.data() + at, bytes.size() - at);
      complete = got > 0;
      if (complete) at += static_cast<uint64_t>(got);
    }
    // The read at the end checks the CRC, and finds bytes beyond the declared size.
    char more;
    complete = complete && zip_fread(file, &more, 1) == 0;
    if (file != nullptr) zip_fclose(file);
    if (!complete) {
      return Bad(label_, FormatString("'{}' is damaged: it does not expand to {} bytes with the "
                                      "right checksum",
                                      name, entry.size));
    }
    return SharedBytes{bytes, std::move(target)};
  }

  mutable std::mutex mutex_;
  ZipSource source_;
  std::string label_;
  Scratch* scratch_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::vector<std::string> names_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<FileTree>> OpenZip(SharedBytes archive, std::string label,
                                                  Scratch* scratch) {
  auto tree = std::make_unique<ZipTree>(std::move(archive), std::move(label), scratch);
  MP_RETURN_IF_ERROR(tree->Load());
  return tree;
}

}  // namespace modelpress
