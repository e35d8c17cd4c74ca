// Mapped files, the scratch folder and its quota, SHA-256.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/base/mapped_file.h"
#include "core/base/scratch.h"
#include "core/base/sha256.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(Sha256Test, KnownAnswers) {  // FIPS 180-4 examples
  EXPECT_EQ(Sha256Hex({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex(AsBytes("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 pieces;
  pieces.Update(AsBytes("a"));
  pieces.Update(AsBytes("bc"));
  EXPECT_EQ(pieces.FinishHex(), Sha256Hex(AsBytes("abc")));
}

TEST(ScratchTest, QuotaIsGivenBackWithTheLastReference) {
  auto scratch = Scratch::Temporary(1000).value();
  auto first = scratch->NewFile(600).value();
  EXPECT_EQ(scratch->used_bytes(), 600u);
  const auto refused = scratch->NewFile(401);
  EXPECT_EQ(ReasonOf(refused.status()), ERROR_REASON_SCRATCH_FULL);
  EXPECT_EQ(DetailOf(refused.status()).metadata().at("available"), "400");
  EXPECT_TRUE(scratch->NewFile(400).ok());
  EXPECT_EQ(scratch->used_bytes(), 600u);
  first.reset();
  EXPECT_EQ(scratch->used_bytes(), 0u);
}

TEST(ScratchTest, LeavesNoNamesAndRemovesItsTemporaryFolder) {
  std::string folder;
  {
    auto scratch = Scratch::Temporary(0).value();
    folder = scratch->folder();
    auto file = scratch->NewFile(10).value();
    std::memcpy(file->mutable_bytes().data(), "0123456789", 10);
    EXPECT_TRUE(fs::is_empty(folder));
    EXPECT_EQ(std::memcmp(file->bytes().data(), "0123456789", 10), 0);
  }
  EXPECT_FALSE(fs::exists(folder));
}

TEST(ScratchTest, AFileMayOutliveTheFolder) {
  auto scratch = Scratch::Temporary(100).value();
  auto file = scratch->NewFile(50).value();
  scratch.reset();
  file->mutable_bytes()[49] = std::byte{1};
}

TEST(ScratchTest, WipesWhatAnEarlierProcessLeft) {
  auto outer = Scratch::Temporary(0).value();
  const std::string folder = outer->folder() + "/inner";
  fs::create_directories(folder + "/old");
  std::ofstream(folder + "/old/blob") << "x";
  auto scratch = Scratch::Open(folder, 0, /*wipe=*/true).value();
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST(MappedFileTest, RefusesWhatIsNotARegularFile) {
  auto scratch = Scratch::Temporary(0).value();
  EXPECT_EQ(ReasonOf(MappedFile::OpenForReading(scratch->folder()).status()),
            ERROR_REASON_FILE_ACCESS);
  EXPECT_EQ(ReasonOf(MappedFile::OpenForReading(scratch->folder() + "/missing").status()),
            ERROR_REASON_FILE_ACCESS);
  const std::string fifo = scratch->folder() + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(ReasonOf(MappedFile::OpenForReading(fifo).status()), ERROR_REASON_FILE_ACCESS);
}

TEST(MappedFileTest, AFullDiskIsATypedErrorAndLeavesNoFile) {
  auto scratch = Scratch::Temporary(0).value();
  const auto file = MappedFile::CreateUnnamed(scratch->folder(), uint64_t{1} << 60);
  EXPECT_EQ(ReasonOf(file.status()), ERROR_REASON_DISK_FULL);
  EXPECT_TRUE(fs::is_empty(scratch->folder()));
}

TEST(MappedFileTest, EmptyFilesAreFine) {
  auto scratch = Scratch::Temporary(0).value();
  const std::string path = scratch->folder() + "/empty";
  ASSERT_TRUE(MappedFile::Create(path, 0).ok());
  EXPECT_EQ(MappedFile::OpenForReading(path).value()->size(), 0u);
  EXPECT_FALSE(MappedFile::Create(path, 0).ok()) << "an existing file is never overwritten";
}

}  // namespace
}  // namespace modelpress
