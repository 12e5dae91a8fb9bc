package recording;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/** Random inputs: three keys and sometimes none, null values, records that come late, jumps in time, and idle times. */
final class Input {
  private static final int STEPS = 60;

  /** A record for a topic, or with no topic a move of the wall clock by ts. */
  record Step(String topic, String key, String value, long ts) {}

  static List<Step> steps(Topologies.Named t, int seed) {
    Random random = new Random(seed * 1000L + t.name().hashCode());
    List<Step> steps = new ArrayList<>();
    long now = 0;
    for (int i = 0; i < STEPS; i++) {
      if (random.nextInt(t.name().contains("wall") ? 6 : 40) == 0) {
        steps.add(new Step(null, null, null, 1 + random.nextInt(40)));
        continue;
      }
      String topic = t.inputs().get(random.nextInt(t.inputs().size()));
      // A left join with grace fails on null keys in Java: its buffer refuses them.
      String key = random.nextInt(25) == 0 && !t.name().contains("-grace") ? null : String.valueOf("abc".charAt(random.nextInt(3)));
      String value = random.nextInt(8) == 0 ? null : (topic.equals("R") ? "r" : "l") + i;
      now += random.nextInt(7) + (random.nextInt(15) == 0 ? 60 : 0);
      long ts = random.nextInt(4) == 0 ? Math.max(0, now - random.nextInt(40)) : now;
      steps.add(new Step(topic, key, value, ts));
    }
    return steps;
  }

  private Input() {}
}
