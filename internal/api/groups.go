package api

import "github.com/twmb/franz-go/pkg/kmsg"

// The APIs of classic groups are answered by the group coordinator as they are.

func handleOffsetCommit(a *API, r *request) {
	a.Groups.OffsetCommit(r.body.(*kmsg.OffsetCommitRequest), func(resp *kmsg.OffsetCommitResponse) { r.reply(resp) })
}

func handleOffsetFetch(a *API, r *request) {
	a.Groups.OffsetFetch(r.body.(*kmsg.OffsetFetchRequest), func(resp *kmsg.OffsetFetchResponse) { r.reply(resp) })
}

func handleOffsetDelete(a *API, r *request) {
	a.Groups.OffsetDelete(r.body.(*kmsg.OffsetDeleteRequest), func(resp *kmsg.OffsetDeleteResponse) { r.reply(resp) })
}

func handleJoinGroup(a *API, r *request) {
	a.Groups.JoinGroup(r.client(), r.body.(*kmsg.JoinGroupRequest), func(resp *kmsg.JoinGroupResponse) { r.reply(resp) })
}

func handleSyncGroup(a *API, r *request) {
	a.Groups.SyncGroup(r.body.(*kmsg.SyncGroupRequest), func(resp *kmsg.SyncGroupResponse) { r.reply(resp) })
}

func handleHeartbeat(a *API, r *request) {
	a.Groups.Heartbeat(r.body.(*kmsg.HeartbeatRequest), func(resp *kmsg.HeartbeatResponse) { r.reply(resp) })
}

func handleLeaveGroup(a *API, r *request) {
	a.Groups.LeaveGroup(r.body.(*kmsg.LeaveGroupRequest), func(resp *kmsg.LeaveGroupResponse) { r.reply(resp) })
}

func handleDescribeGroups(a *API, r *request) {
	req := r.body.(*kmsg.DescribeGroupsRequest)
	a.Groups.DescribeGroups(req, func(resp *kmsg.DescribeGroupsResponse) {
		for i := range resp.Groups {
			if req.IncludeAuthorizedOperations && resp.Groups[i].ErrorCode == 0 {
				resp.Groups[i].AuthorizedOperations = groupOperations
			}
		}
		r.reply(resp)
	})
}

func handleListGroups(a *API, r *request) {
	a.Groups.ListGroups(r.body.(*kmsg.ListGroupsRequest), func(resp *kmsg.ListGroupsResponse) { r.reply(resp) })
}

func handleDeleteGroups(a *API, r *request) {
	a.Groups.DeleteGroups(r.body.(*kmsg.DeleteGroupsRequest), func(resp *kmsg.DeleteGroupsResponse) { r.reply(resp) })
}
