// An artifact comes down whole from any offsets.
#include "server/transfer/artifact.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/base/scratch.h"
#include "core/base/status.h"
#include "tests/unit/server/fakes.h"

namespace modelpress {
namespace {

class ArtifactTest : public ::testing::Test {
 protected:
  ArtifactTest() : scratch_(*Scratch::Temporary(0)) {
    Add("model.onnx", "0123456789");
    Add("empty.data", "");
    Add("weights.data", "abc");
  }
  void Add(const std::string& name, const std::string& bytes) {
    std::ofstream(scratch_->folder() + "/" + name) << bytes;
    ArtifactFile& file = *files_.Add();
    file.set_name(name);
    file.set_size_bytes(bytes.size());
  }

  std::unique_ptr<Scratch> scratch_;
  google::protobuf::RepeatedPtrField<ArtifactFile> files_;
};

TEST_F(ArtifactTest, ChunksAreContiguousFromTheGivenOffsets) {
  const auto mapped = MapArtifact(scratch_->folder(), files_);
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  struct Case {
    std::vector<uint64_t> offsets;
    std::vector<std::string> chunks;  // "file:offset:data"
  };
  const Case cases[] = {
      {{}, {"1:0:0123", "1:4:4567", "1:8:89", "3:0:abc"}},
      {{3}, {"1:3:3456", "1:7:789", "3:0:abc"}},
      {{10, 0, 1}, {"3:1:bc"}},
      {{10, 0, 3}, {}},
  };
  for (const Case& c : cases) {
    ArtifactReader reader(*mapped, 4);
    ASSERT_TRUE(reader.Seek(c.offsets).ok());
    std::vector<std::string> chunks;
    while (const auto chunk = reader.Next()) {
      EXPECT_EQ(chunk->crc32c, testing::Crc(chunk->data));
      chunks.push_back(std::to_string(chunk->file_index) + ":" + std::to_string(chunk->offset) +
                       ":" + chunk->data);
    }
    EXPECT_EQ(chunks, c.chunks);
  }
}

TEST_F(ArtifactTest, RefusesOffsetsThatAreNone) {
  const auto mapped = MapArtifact(scratch_->folder(), files_);
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ(ReasonOf(ArtifactReader(*mapped, 4).Seek({11})), ERROR_REASON_OFFSET_MISMATCH);
  EXPECT_EQ(ReasonOf(ArtifactReader(*mapped, 4).Seek({0, 0, 0, 0})), ERROR_REASON_REQUEST_INVALID);
}

TEST_F(ArtifactTest, RefusesLinksAndWrongSizes) {
  files_.Mutable(2)->set_size_bytes(4);
  EXPECT_EQ(ReasonOf(MapArtifact(scratch_->folder(), files_).status()), ERROR_REASON_INTERNAL_BUG);
  files_.Mutable(2)->set_size_bytes(3);
  std::filesystem::create_symlink("model.onnx", scratch_->folder() + "/link");
  ArtifactFile& link = *files_.Add();
  link.set_name("link");
  link.set_size_bytes(10);
  EXPECT_EQ(ReasonOf(MapArtifact(scratch_->folder(), files_).status()), ERROR_REASON_INTERNAL_BUG);
}

}  // namespace
}  // namespace modelpress
