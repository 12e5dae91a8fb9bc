package api

import (
	"time"

	"github.com/gregorhq/gregor/internal/wire"
)

// table is every API that works, with the versions of Apache Kafka 4.3 on a broker's listener. Clients read much into
// it: an API that is here is used, and some clients look at exact ranges, so that these say what Kafka's say.
var table = []row{
	// Versions 0 to 2 of Produce are advertised and not served: librdkafka before 2.11 takes a range that does not begin
	// at 0 as a sign that compression is not supported (KAFKA-18659).
	{key: 0, min: 0, max: 13, serves: 3},
	{key: 1, min: 4, max: 18, handle: handleFetch},
	{key: 2, min: 1, max: 11, handle: handleListOffsets},
	{key: 3, min: 0, max: 13, handle: handleMetadata},
	{key: 8, min: 2, max: 10, handle: handleOffsetCommit},
	{key: 9, min: 1, max: 10, handle: handleOffsetFetch},
	{key: 10, min: 0, max: 6, handle: handleFindCoordinator},
	{key: 11, min: 0, max: 9, handle: handleJoinGroup},
	{key: 12, min: 0, max: 4, handle: handleHeartbeat},
	{key: 13, min: 0, max: 5, handle: handleLeaveGroup},
	{key: 14, min: 0, max: 5, handle: handleSyncGroup},
	{key: 15, min: 0, max: 6, handle: handleDescribeGroups},
	{key: 16, min: 0, max: 5, handle: handleListGroups},
	{key: 17, min: 0, max: 1, handle: handleSaslHandshake},
	{key: 18, min: 0, max: 4, handle: handleAPIVersions},
	{key: 19, min: 2, max: 7, handle: handleCreateTopics, decided: true},
	{key: 20, min: 1, max: 6, handle: handleDeleteTopics, decided: true},
	{key: 21, min: 0, max: 2, handle: handleDeleteRecords},
	{key: 22, min: 0, max: 5, handle: handleInitProducerID},
	{key: 23, min: 2, max: 4, handle: handleOffsetForLeaderEpoch},
	{key: 32, min: 1, max: 4, handle: handleDescribeConfigs},
	{key: 33, min: 0, max: 2, handle: handleAlterConfigs, decided: true},
	{key: 35, min: 1, max: 5, handle: handleDescribeLogDirs},
	{key: 36, min: 0, max: 2, handle: handleSaslAuthenticate},
	{key: 37, min: 0, max: 3, handle: handleCreatePartitions, decided: true},
	{key: 42, min: 0, max: 2, handle: handleDeleteGroups},
	{key: 43, min: 0, max: 2, handle: handleElectLeaders, decided: true},
	{key: 44, min: 0, max: 1, handle: handleIncrementalAlterConfigs, decided: true},
	{key: 45, min: 0, max: 1, handle: handleAlterPartitionReassignments, decided: true},
	{key: 46, min: 0, max: 0, handle: handleListPartitionReassignments, decided: true},
	{key: 47, min: 0, max: 0, handle: handleOffsetDelete},
	// Who looks at a quorum that has no leader wants to see that, and not to wait.
	{key: 55, min: 0, max: 2, handle: handleDescribeQuorum, decided: true, patience: time.Second},
	{key: 57, min: 0, max: 2, handle: handleUpdateFeatures, decided: true},
	{key: 60, min: 0, max: 2, handle: handleDescribeCluster},
	{key: 61, min: 0, max: 0, handle: handleDescribeProducers},
	{key: 64, min: 0, max: 0, handle: handleUnregisterBroker, decided: true},
	{key: 74, min: 0, max: 1, handle: handleListConfigResources},
	{key: 75, min: 0, max: 0, handle: handleDescribeTopicPartitions},
	{key: 80, min: 0, max: 1, handle: handleAddRaftVoter, decided: true},
	{key: 81, min: 0, max: 0, handle: handleRemoveRaftVoter, decided: true},
}

// nodeTable is what the nodes of a cluster ask each other. It is served and never advertised.
var nodeTable = []row{
	{key: 56, min: 2, max: 3, serves: 3, handle: handleAlterPartition, between: true},
	{key: 62, min: 0, max: 4, handle: handleController, between: true},
	{key: 63, min: 0, max: 1, handle: handleController, between: true},
	{key: 67, min: 0, max: 0, handle: handleController, between: true},
	{key: 73, min: 0, max: 0, handle: handleController, between: true},
	{key: wire.KeyProgress, handle: handleProgress, between: true},
	{key: wire.KeyRaft, handle: handleRaft, between: true},
	{key: wire.KeyFetchMetadata, handle: handleFetchMetadata, between: true},
	{key: wire.KeyJoinCluster, handle: handleJoinCluster, between: true},
	{key: wire.KeyForward, handle: handleForward, between: true},
}
