// Files up and files down: offsets, digests, damage.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "absl/crc/crc32c.h"
#include "absl/strings/str_cat.h"
#include "client/session/artifact_receiver.h"
#include "client/session/upload.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;

class TransferTest : public ::testing::Test {
 protected:
  TransferTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "transfer-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~TransferTest() override { std::filesystem::remove_all(folder_); }

  std::shared_ptr<const MappedFile> File(const std::string& name, const std::string& content) {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path, std::ios::binary) << content;
    return MappedFile::OpenForReading(path).value();
  }
  std::string Content(const std::string& name) {
    std::ifstream file(folder_ + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string folder_;
};

std::string Sha(const std::string& text) { return Sha256Hex(std::as_bytes(std::span(text))); }

Chunk MakeChunk(uint32_t blob_id, uint64_t offset, const std::string& data) {
  Chunk chunk;
  chunk.set_blob_id(blob_id);
  chunk.set_offset(offset);
  chunk.set_data(data);
  chunk.set_crc32c(static_cast<uint32_t>(absl::ComputeCrc32c(data)));
  return chunk;
}

google::protobuf::RepeatedPtrField<ArtifactFile> Files(
    const std::vector<std::pair<std::string, std::string>>& files) {
  google::protobuf::RepeatedPtrField<ArtifactFile> list;
  for (const auto& [name, content] : files) {
    ArtifactFile& file = *list.Add();
    file.set_name(name);
    file.set_size_bytes(content.size());
    file.set_sha256(Sha(content));
  }
  return list;
}

TEST_F(TransferTest, UploadDeclaresAndHashesWhatItReads) {
  Upload upload;
  upload.Add(Blob::ROLE_MODEL, "model.onnx", File("a", "0123456789"));
  upload.Add(Blob::ROLE_DATA, "data.zip", File("b", "xyz"));
  ASSERT_EQ(upload.blobs().size(), 2u);
  EXPECT_EQ(upload.blobs()[1].blob_id(), 2u);
  EXPECT_EQ(upload.total_bytes(), 13u);
  Chunk chunk;
  ASSERT_TRUE(upload.Read(0, 0, 4, &chunk).ok());
  EXPECT_EQ(chunk.data(), "0123");
  EXPECT_EQ(chunk.crc32c(), MakeChunk(1, 0, "0123").crc32c());
  ASSERT_TRUE(upload.Read(0, 8, 100, &chunk).ok());
  EXPECT_EQ(chunk.data(), "89");
  EXPECT_EQ(chunk.offset(), 8u);
  EXPECT_THAT(upload.Digests().value(), ElementsAre(Sha("0123456789"), Sha("xyz")));
}

// Whatever pieces a broken upload is sent in, the digest is that of the file.
TEST_F(TransferTest, DigestDoesNotDependOnTheOrderOfReading) {
  for (uint32_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    std::string content(1 + random() % 5000, '\0');
    for (char& c : content) c = static_cast<char>(random());
    Upload upload;
    upload.Add(Blob::ROLE_MODEL, "model.onnx", File("model", content));
    for (int i = 0; i < 10; ++i) {
      const uint64_t offset = random() % content.size();
      const size_t size = 1 + random() % 700;
      Chunk chunk;
      ASSERT_TRUE(upload.Read(0, offset, size, &chunk).ok());
      ASSERT_EQ(chunk.data(), content.substr(offset, size));
    }
    EXPECT_THAT(upload.Digests().value(), ElementsAre(Sha(content)));
  }
}

TEST_F(TransferTest, FileThatShrinksIsAnErrorNotASignal) {
  Upload upload;
  upload.Add(Blob::ROLE_MODEL, "model.onnx", File("a", std::string(100, 'a')));
  ASSERT_EQ(truncate((folder_ + "/a").c_str(), 10), 0);
  Chunk chunk;
  EXPECT_EQ(ReasonOf(upload.Read(0, 0, 100, &chunk)), ERROR_REASON_FILE_ACCESS);
}

TEST_F(TransferTest, ReceivesResumesAndChecks) {
  ArtifactReceiver receiver(folder_);
  const auto files = Files({{"model.onnx", "abcdef"}, {"weights-1.data", "123"}});
  ASSERT_TRUE(receiver.Expect(files).ok());
  ASSERT_TRUE(receiver.Add(MakeChunk(1, 0, "abc")).ok());
  EXPECT_THAT(receiver.offsets(), ElementsAre(3, 0));
  // Announced again after a break: what is here stays.
  ASSERT_TRUE(receiver.Expect(files).ok());
  ASSERT_TRUE(receiver.Add(MakeChunk(1, 3, "def")).ok());
  EXPECT_FALSE(receiver.complete());
  ASSERT_TRUE(receiver.Add(MakeChunk(2, 0, "123")).ok());
  EXPECT_TRUE(receiver.complete());
  EXPECT_TRUE(receiver.Finish().ok());
  EXPECT_EQ(Content("model.onnx"), "abcdef");
  EXPECT_EQ(Content("weights-1.data"), "123");
}

TEST_F(TransferTest, RefusesWhatDoesNotFit) {
  ArtifactReceiver receiver(folder_);
  ASSERT_TRUE(receiver.Expect(Files({{"model.onnx", "abcdef"}})).ok());
  Chunk damaged = MakeChunk(1, 0, "abc");
  damaged.set_data("abd");
  EXPECT_EQ(ReasonOf(receiver.Add(damaged)), ERROR_REASON_CHUNK_CORRUPT);
  EXPECT_EQ(ReasonOf(receiver.Add(MakeChunk(1, 1, "b"))), ERROR_REASON_OFFSET_MISMATCH);
  EXPECT_EQ(ReasonOf(receiver.Add(MakeChunk(1, 0, "abcdefg"))), ERROR_REASON_OFFSET_MISMATCH);
  EXPECT_EQ(ReasonOf(receiver.Add(MakeChunk(2, 0, "a"))), ERROR_REASON_PROTOCOL_VIOLATION);
  EXPECT_EQ(ReasonOf(receiver.Add(MakeChunk(0, 0, "a"))), ERROR_REASON_PROTOCOL_VIOLATION);
  EXPECT_THAT(receiver.offsets(), ElementsAre(0));
}

TEST_F(TransferTest, WrongDigestForgetsTheFile) {
  ArtifactReceiver receiver(folder_);
  ASSERT_TRUE(receiver.Expect(Files({{"model.onnx", "abcdef"}})).ok());
  ASSERT_TRUE(receiver.Add(MakeChunk(1, 0, "abcdeF")).ok());
  EXPECT_EQ(ReasonOf(receiver.Finish()), ERROR_REASON_DIGEST_MISMATCH);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/model.onnx"));
}

TEST_F(TransferTest, ServerCannotChooseFolders) {
  for (const char* name : {"", ".", "..", "../model.onnx", "/etc/model.onnx", "a/b"}) {
    SCOPED_TRACE(name);
    ArtifactReceiver receiver(folder_);
    EXPECT_EQ(ReasonOf(receiver.Expect(Files({{name, "x"}}))), ERROR_REASON_PROTOCOL_VIOLATION);
  }
}

}  // namespace
}  // namespace modelpress
