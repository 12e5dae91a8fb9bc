// What kafka-clients 4 can do and 2.8 cannot.

import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;

class Newest implements Round.Action {
    private final Admin admin;

    Newest(Admin admin) { this.admin = admin; }

    public void run() throws Exception {
        Round.step("by topic id, max timestamp, log directories, quorum, features, groups");
        Uuid id = admin.describeTopics(List.of("times")).allTopicNames().get().get("times").topicId();
        Round.is(admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds().get().get(id).name(), "times", "name by id");
        TopicPartition tp = new TopicPartition("times", 0);
        Round.is(admin.listOffsets(Map.of(tp, OffsetSpec.maxTimestamp())).partitionResult(tp).get().offset(), 999L, "offset of the newest");
        Round.is(admin.listOffsets(Map.of(tp, OffsetSpec.earliestLocal())).partitionResult(tp).get().offset(), 10L, "earliest local");
        Round.is(admin.listOffsets(Map.of(tp, OffsetSpec.latestTiered())).partitionResult(tp).get().offset(), -1L, "latest tiered");
        TopicPartition once = new TopicPartition("once", 0);
        Round.is(admin.describeProducers(List.of(once)).partitionResult(once).get().activeProducers().get(0).lastSequence(), 5 * Round.RECORDS - 1, "last sequence");
        LogDirDescription dir = admin.describeLogDirs(List.of(0)).allDescriptions().get().get(0).values().iterator().next();
        Round.isTrue(dir.replicaInfos().get(tp).size() > 0, "the size of a replica");
        Round.isTrue(dir.totalBytes().getAsLong() > 0, "the size of the volume");
        QuorumInfo quorum = admin.describeMetadataQuorum().quorumInfo().get();
        Round.is(quorum.leaderId(), 0, "quorum leader");
        Round.isTrue(admin.describeFeatures().featureMetadata().get().supportedFeatures().containsKey("metadata.version"), "metadata.version");
        Round.isTrue(admin.listGroups().all().get().stream().anyMatch(g -> g.groupId().equals("g-static")), "listed groups");
        Round.isTrue(admin.describeClassicGroups(List.of("g-static")).all().get().get("g-static").members().isEmpty(), "a described classic group");
        Round.is(admin.listPartitionReassignments().reassignments().get().size(), 0, "reassignments");
        admin.listConfigResources(Set.of(ConfigResource.Type.TOPIC), new ListConfigResourcesOptions()).all().get();
        Round.isTrue(admin.electLeaders(ElectionType.PREFERRED, Set.of(tp)).partitions().get().get(tp).isPresent(), "an election that is not needed says so");
        admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
        Round.isTrue(!admin.listTopics().names().get().contains("times"), "deleted by id");
    }
}
