// What a server says is what the client reports.
#include "client/session/rpc_error.h"

#include "client/session/channel.h"
#include "core/base/status.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"

namespace modelpress {
namespace {

google::rpc::Status RichStatus(const std::string& reason, const std::string& domain) {
  google::rpc::Status status;
  status.set_code(8);
  status.set_message("queue is full; try later");
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain(domain);
  (*info.mutable_metadata())["remedy"] = "try later";
  status.add_details()->PackFrom(info);
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(2);
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  status.add_details()->PackFrom(retry);
  return status;
}

grpc::Status Rpc(grpc::StatusCode code, const google::rpc::Status& rich) {
  return {code, rich.message(), rich.SerializeAsString()};
}

TEST(RpcErrorTest, KeepsReasonMetadataAndRetryDelay) {
  const RpcError error =
      FromRpc(Rpc(grpc::StatusCode::RESOURCE_EXHAUSTED, RichStatus("QUEUE_FULL", "modelpress")));
  EXPECT_EQ(ReasonOf(error.status), ERROR_REASON_QUEUE_FULL);
  EXPECT_EQ(DetailOf(error.status).metadata().at("remedy"), "try later");
  EXPECT_EQ(error.retry_after, std::chrono::milliseconds(2500));
  EXPECT_FALSE(error.transport);
}

TEST(RpcErrorTest, UnknownReasonsOfNewerServersAreNamed) {
  const RpcError error =
      FromRpc(Rpc(grpc::StatusCode::INTERNAL, RichStatus("BRAND_NEW", "modelpress")));
  EXPECT_EQ(ReasonOf(error.status), ERROR_REASON_INTERNAL_BUG);
  EXPECT_EQ(DetailOf(error.status).metadata().at("server_reason"), "BRAND_NEW");
}

TEST(RpcErrorTest, ErrorsWithoutReasonBelongToTheConnection) {
  struct {
    grpc::StatusCode code;
    ErrorReason reason;
    bool transport;
  } cases[] = {
      {grpc::StatusCode::UNAVAILABLE, ERROR_REASON_SERVER_UNREACHABLE, true},
      {grpc::StatusCode::CANCELLED, ERROR_REASON_SERVER_UNREACHABLE, true},
      {grpc::StatusCode::INTERNAL, ERROR_REASON_SERVER_UNREACHABLE, true},
      {grpc::StatusCode::UNIMPLEMENTED, ERROR_REASON_SERVER_UNREACHABLE, false},
      {grpc::StatusCode::INVALID_ARGUMENT, ERROR_REASON_INTERNAL_BUG, false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.code);
    const RpcError error = FromRpc(grpc::Status(c.code, "x"));
    EXPECT_EQ(ReasonOf(error.status), c.reason);
    EXPECT_EQ(error.transport, c.transport);
  }
  // A reason of somebody else's domain is not ours.
  EXPECT_EQ(
      ReasonOf(FromRpc(Rpc(grpc::StatusCode::INVALID_ARGUMENT, RichStatus("QUEUE_FULL", "proxy")))
                   .status),
      ERROR_REASON_INTERNAL_BUG);
}

TEST(RpcErrorTest, EndOfAJob) {
  EXPECT_TRUE(FromJobStatus(google::rpc::Status()).ok());
  EXPECT_EQ(ReasonOf(FromJobStatus(RichStatus("QUALITY_BOUND_MISSED", "modelpress"))),
            ERROR_REASON_QUALITY_BOUND_MISSED);
}

TEST(ChannelTest, TargetsAndInstances) {
  EXPECT_EQ(TargetOf("host:7600"), "dns:///host:7600");
  EXPECT_EQ(TargetOf("ipv4:127.0.0.1:1,127.0.0.1:2"), "ipv4:127.0.0.1:1,127.0.0.1:2");
  EXPECT_EQ(TargetOf("unix:/run/modelpress"), "unix:/run/modelpress");
  EXPECT_EQ(InstanceAddress("abc@10.0.0.1:7600"), "10.0.0.1:7600");
  EXPECT_EQ(InstanceAddress("abc"), "");
}

}  // namespace
}  // namespace modelpress
