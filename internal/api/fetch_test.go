package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/wire"
)

// Clients of Fetch 5 and older do not know KAFKA_STORAGE_ERROR.
func TestOldClientsAreToldOfAFailedDiskInWordsTheyKnow(t *testing.T) {
	for version, want := range map[int16]kafka.ErrorCode{4: kafka.NotLeaderOrFollower, 5: kafka.NotLeaderOrFollower, 6: kafka.KafkaStorageError, 12: kafka.KafkaStorageError} {
		result := wire.FetchResult{Error: kafka.KafkaStorageError}
		(&API{}).finishResult(nil, version, &result, nil)
		if result.Error != want {
			t.Errorf("version %d: %v", version, result.Error)
		}
	}
}

// A partition without a leader says so; a leader that is made up would make clients stall.
func TestAPartitionWithoutALeaderIsToldAsSuch(t *testing.T) {
	topic := &metadata.Topic{Name: "t", Partitions: []*metadata.Partition{{Number: 0, Leader: kafka.NoNode, LeaderEpoch: 7, Replicas: []kafka.NodeID{1}}}}
	got := (&API{}).topicMetadata(metadata.Empty(), topic, kmsg.NewPtrMetadataRequest()).Partitions[0]
	if got.Leader != -1 || kafka.ErrorCode(got.ErrorCode) != kafka.LeaderNotAvailable || got.LeaderEpoch != 7 || len(got.OfflineReplicas) != 1 {
		t.Fatalf("%+v", got)
	}
}
