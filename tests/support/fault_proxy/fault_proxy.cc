// A TCP proxy on loopback that breaks connections on request, for tests of lost connections.
//
//   fault_proxy PORT {up|down} BYTES {cut|stall} TIMES
//
// Forwards to 127.0.0.1:PORT and prints its own port. After BYTES in that direction of a connection it resets the
// connection (cut) or forwards nothing any more while it stays open (stall); after TIMES such faults it only forwards.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string_view>
#include <thread>

namespace {

struct Plan {
  int port = 0;
  bool up = true;
  long bytes = 0;
  bool stall = false;
  std::atomic<int> times = 0;
};

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

bool SendAll(int socket, const char* data, ssize_t size) {
  while (size > 0) {
    const ssize_t sent = send(socket, data, static_cast<size_t>(size), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data += sent;
    size -= sent;
  }
  return true;
}

// A reset, as a dying machine or a firewall gives, not an orderly end.
void Reset(int socket) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  close(socket);
}

void Forward(Plan* plan, int client) {
  const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Loopback(plan->port);
  if (connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    Reset(client);
    close(server);
    return;
  }
  const int one = 1;
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  pollfd both[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
  char buffer[64 * 1024];
  long counted = 0;
  while (poll(both, 2, -1) > 0) {  // one thread a connection, both directions
    for (int from = 0; from < 2; ++from) {
      if ((both[from].revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
      const ssize_t size = recv(both[from].fd, buffer, sizeof(buffer), 0);
      if (size <= 0 || !SendAll(both[1 - from].fd, buffer, size)) {
        close(client);
        close(server);
        return;
      }
      if ((from == 0) == plan->up) counted += size;
      if (counted < plan->bytes || plan->times.fetch_sub(1) <= 0) continue;
      if (plan->stall) {
        pause();  // both ends stay open and silent
      }
      Reset(client);
      Reset(server);
      return;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: fault_proxy PORT {up|down} BYTES {cut|stall} TIMES\n");
    return 2;
  }
  static Plan plan;
  plan.port = atoi(argv[1]);
  plan.up = std::string_view(argv[2]) == "up";
  plan.bytes = atol(argv[3]);
  plan.stall = std::string_view(argv[4]) == "stall";
  plan.times = atoi(argv[5]);
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof(address);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listener, 16) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    perror("fault_proxy");
    return 1;
  }
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  while (true) {
    const int client = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (client >= 0) std::thread(Forward, &plan, client).detach();
  }
}
