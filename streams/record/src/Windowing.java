package recording;

import static recording.Topologies.*;

import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.UnlimitedWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.WindowStore;
import java.time.Instant;

/** Windows of all kinds, with results at each update and when they close, and what holds updates back. */
final class Windowing {
  static void add() {
    for (int grace : new int[] {0, 10, 1000}) {
      add(grace);
    }
    one("window/unlimited-from30", b -> finishWindows(in(b).groupByKey()
        .windowedBy(UnlimitedWindows.of().startOn(Instant.ofEpochMilli(30))).aggregate(() -> "", ADD, windows())));
    one("suppress/timelimit15", b -> finish(b.<String, String>table("in")
        .suppress(Suppressed.untilTimeLimit(ms(15), Suppressed.BufferConfig.unbounded()))));
    one("suppress/maxrecords2-early", b -> finish(b.<String, String>table("in")
        .suppress(Suppressed.untilTimeLimit(ms(1000), Suppressed.BufferConfig.maxRecords(2).emitEarlyWhenFull()))));
  }

  private static void add(int grace) {
    for (String kind : new String[] {"tumbling20", "hopping20a5", "sliding15", "session10"}) {
      String name = kind + "-g" + grace;
      one("window/" + name, b -> finishWindows(table(b, kind, grace, EmitStrategy.onWindowUpdate())));
      if (grace == 1000) {
        continue;
      }
      one("window-final/" + name, b -> finishWindows(table(b, kind, grace, EmitStrategy.onWindowClose())));
      if (kind.equals("tumbling20") || kind.equals("session10")) {
        one("suppress/" + name, b -> finishWindows(table(b, kind, grace, EmitStrategy.onWindowUpdate())
            .suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()))));
      }
    }
  }

  private static Materialized<String, String, WindowStore<Bytes, byte[]>> windows() {
    return Materialized.with(S, S);
  }

  private static KTable<Windowed<String>, String> table(StreamsBuilder b, String kind, int grace, EmitStrategy emit) {
    var grouped = in(b).groupByKey();
    return switch (kind) {
      case "session10" -> grouped.windowedBy(SessionWindows.ofInactivityGapAndGrace(ms(10), ms(grace)))
          .emitStrategy(emit).aggregate(() -> "", ADD, MERGE, Materialized.with(S, S));
      case "sliding15" -> grouped.windowedBy(SlidingWindows.ofTimeDifferenceAndGrace(ms(15), ms(grace)))
          .emitStrategy(emit).aggregate(() -> "", ADD, windows());
      case "hopping20a5" -> grouped.windowedBy(TimeWindows.ofSizeAndGrace(ms(20), ms(grace)).advanceBy(ms(5)))
          .emitStrategy(emit).aggregate(() -> "", ADD, windows());
      default -> grouped.windowedBy(TimeWindows.ofSizeAndGrace(ms(20), ms(grace)))
          .emitStrategy(emit).aggregate(() -> "", ADD, windows());
    };
  }

  private Windowing() {}
}
