import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import java.io.IOException;
import java.util.List;
import org.h2.mvstore.MVStore;

/**
 * A MongoDB server for tests: the wire protocol, one file, loopback only.
 *
 * <p>Arguments: port (0: any free one) and data file. Prints "listening on PORT", then serves until its standard
 * input ends, so that it never outlives the tests that started it, or until it gets SIGTERM.
 */
public final class MongoTestServer {

    /** The versions built into the library speak a wire protocol older than today's drivers accept. */
    private static final MongoVersion VERSION = new MongoVersion() {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(5, 0, 0);
        }

        @Override
        public int getWireVersion() {
            return 13;
        }
    };

    private static final int MILLISECONDS_UNTIL_ON_DISK = 5;

    private MongoTestServer() {
    }

    public static void main(String[] arguments) throws IOException {
        int port = Integer.parseInt(arguments[0]);
        MVStore file = new MVStore.Builder().fileName(arguments[1]).open();
        file.setAutoCommitDelay(MILLISECONDS_UNTIL_ON_DISK);
        MongoServer server = new MongoServer(new H2Backend(file).version(VERSION));
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        server.bind("127.0.0.1", port);
        System.out.println("listening on " + server.getLocalAddress().getPort());
        while (System.in.read() != -1) {
            // what is written to us means nothing
        }
        System.exit(0);
    }
}
