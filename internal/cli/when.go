package cli

import (
	"fmt"
	"strconv"
	"time"
)

// parseTime reads a moment as people write it, as milliseconds since 1970: ms, a date, RFC 3339, or a duration from now.
func parseTime(text string, now time.Time) (ms int64, err error) {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms >= 0 {
		return ms, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		if d > 0 {
			d = -d
		}
		return now.Add(d).UnixMilli(), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("%q is no time: it is milliseconds since 1970, 2006-01-31, 2006-01-31T15:04:05Z, or -1h for an hour ago", text)
}

// timeText is a record's timestamp for people, in UTC; "" where there is none.
func timeText(ms int64) string {
	if ms < 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
