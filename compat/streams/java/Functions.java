import java.util.Map;
import java.util.function.UnaryOperator;
import org.apache.kafka.streams.kstream.Aggregator;
import org.apache.kafka.streams.kstream.KeyValueMapper;
import org.apache.kafka.streams.kstream.Merger;
import org.apache.kafka.streams.kstream.Predicate;
import org.apache.kafka.streams.kstream.Reducer;
import org.apache.kafka.streams.kstream.ValueJoiner;

/** The functions of topologies, by name. functions.go has the same. */
final class Functions {
  static int modulo(String v, int n) {
    return Math.floorMod(v.hashCode(), n);
  }

  static final Map<String, Predicate<String, String>> PREDICATES = Map.of(
      "even", (k, v) -> v != null && modulo(v, 2) == 0,
      "third", (k, v) -> v != null && modulo(v, 3) != 0,
      "full", (k, v) -> v != null,
      "empty", (k, v) -> v == null,
      "keyed", (k, v) -> k != null);

  static final Map<String, UnaryOperator<String>> MAPPERS = Map.of(
      "upper", v -> v == null ? null : v.toUpperCase(java.util.Locale.ROOT),
      "mark", v -> v + ".",
      "drop3", v -> v == null || v.endsWith("3") ? null : v,
      "length", v -> v == null ? "0" : v.substring(0, 1) + v.length());

  static final Map<String, KeyValueMapper<String, String, String>> KEYS = Map.of(
      "same", (k, v) -> k,
      "bucket", (k, v) -> v == null ? "n" : "k" + modulo(v, 4),
      "orNull", (k, v) -> v == null ? null : "k" + modulo(v, 3),
      "value", (k, v) -> v == null ? k : v);

  static String foreign(String v) {
    int n = modulo(v, 5);
    return n == 4 ? null : "abcd".substring(n, n + 1);
  }

  /** What an aggregate starts with, and what adds a value to it and takes one away. */
  record Aggregation(String init, Aggregator<String, String, String> add, Aggregator<String, String, String> subtract) {}

  static final Map<String, Aggregation> AGGREGATIONS = Map.of(
      "list", new Aggregation("", (k, v, a) -> a + "|" + v, (k, v, a) -> a + "-" + v),
      "sum", new Aggregation("0", (k, v, a) -> String.valueOf(Long.parseLong(a) + v.hashCode()),
          (k, v, a) -> String.valueOf(Long.parseLong(a) - v.hashCode())),
      "some", new Aggregation("", (k, v, a) -> v != null && modulo(v, 6) == 0 ? null : a + "|" + v, (k, v, a) -> a + "-" + v));

  static final Reducer<String> REDUCE = (a, v) -> a + "+" + v;
  static final Reducer<String> UNREDUCE = (a, v) -> a + "-" + v;
  static final Merger<String, String> MERGE = (k, a, b) -> "(" + a + "&" + b + ")";
  static final ValueJoiner<String, String, String> JOIN = (a, b) -> a + "+" + b;

  private Functions() {}
}
