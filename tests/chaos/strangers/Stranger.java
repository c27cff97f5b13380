import io.grpc.CallOptions;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.ClientCalls;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;

/**
 * A client at its defaults: CALLERS threads call until standard input ends; prints the number of each status.
 * PER_CALL: each call by a connection of its own; PING_SECONDS: of keep-alive; PAUSE_SECONDS: between calls.
 */
public class Stranger {
  static final MethodDescriptor.Marshaller<byte[]> RAW =
      new MethodDescriptor.Marshaller<>() {
        public InputStream stream(byte[] value) {
          return new ByteArrayInputStream(value);
        }

        public byte[] parse(InputStream stream) {
          try {
            return stream.readAllBytes();
          } catch (IOException error) {
            throw new RuntimeException(error);
          }
        }
      };

  static long millis(String name) {
    String text = System.getenv(name);
    return text == null ? 0 : (long) (Double.parseDouble(text) * 1000);
  }

  public static void main(String[] arguments) throws Exception {
    byte[] request = Base64.getDecoder().decode(arguments[2]);
    int callers = Integer.parseInt(System.getenv("CALLERS"));
    long deadline = millis("CALL_SECONDS"), pause = millis("PAUSE_SECONDS"), ping = millis("PING_SECONDS");
    boolean perCall = System.getenv("PER_CALL") != null;
    String authority = System.getenv("CA_FILE");
    ChannelCredentials security =
        authority == null
            ? InsecureChannelCredentials.create()
            : TlsChannelCredentials.newBuilder().trustManager(new File(authority)).build();
    ManagedChannelBuilder<?> builder = Grpc.newChannelBuilder(arguments[0], security);
    if (authority != null) {
      builder.overrideAuthority(System.getenv("SERVER_NAME"));
    }
    if (ping > 0) {
      builder.keepAliveTime(ping, TimeUnit.MILLISECONDS).keepAliveWithoutCalls(true);
    }
    ManagedChannel shared = builder.build();
    MethodDescriptor<byte[], byte[]> method =
        MethodDescriptor.newBuilder(RAW, RAW)
            .setType(MethodDescriptor.MethodType.UNARY)
            .setFullMethodName(arguments[1].substring(1))
            .build();
    Map<String, Integer> counts = new TreeMap<>();
    AtomicBoolean ended = new AtomicBoolean();
    List<Thread> threads = new ArrayList<>();
    for (int number = 0; number < callers; number++) {
      Thread thread =
          new Thread(
              () -> {
                while (!ended.get()) {
                  String status = "OK";
                  ManagedChannel channel = perCall ? builder.build() : shared;
                  try {
                    CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(deadline, TimeUnit.MILLISECONDS);
                    ClientCalls.blockingUnaryCall(channel, method, options, request);
                  } catch (StatusRuntimeException error) {
                    status = error.getStatus().getCode().name();
                    System.err.println(error.getStatus());
                  }
                  if (perCall) {
                    channel.shutdownNow();
                  }
                  synchronized (counts) {
                    if (counts.merge(status, 1, Integer::sum) == 1 && status.equals("OK")) {
                      System.out.println("calling");
                    }
                  }
                  try {
                    Thread.sleep(pause);
                  } catch (InterruptedException error) {
                    return;
                  }
                }
              });
      thread.start();
      threads.add(thread);
    }
    System.in.readAllBytes();
    ended.set(true);
    for (Thread thread : threads) {
      thread.join();
    }
    System.out.println(
        counts.entrySet().stream()
            .map(each -> "\"" + each.getKey() + "\": " + each.getValue())
            .collect(Collectors.joining(", ", "{", "}")));
    shared.shutdownNow();
  }
}
