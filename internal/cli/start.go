package cli

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/gregorhq/gregor/internal/daemon"
)

func startCommand() *cobra.Command {
	o := daemon.Options{Environ: os.Environ()}
	level, format := "info", "text"
	c := &cobra.Command{
		Use:   "start",
		Short: "Start a node",
		Long: `Start a node: a working, durable Kafka, with no configuration needed. Alone it is a cluster of one. With --join it becomes
one more node of the cluster that a node at HOST:PORT is in; that is needed once, later it knows the way.

Keys are Kafka's. They are set, each winning over the next, by --set key=value, by the flags below, by the environment
(log.retention.ms is GREGOR_LOG_RETENTION_MS), and by a Kafka server.properties file (--config).`,
		Example: `  gregor start
  gregor start --listen 127.0.0.1:19092 --data-dir ./data
  gregor start --listen 127.0.0.1:9093 --data-dir ./data-2 --join 127.0.0.1:9092
  gregor start --listen 0.0.0.0:9092 --advertise kafka.example.org:9092
  gregor start --config server.properties --set log.retention.hours=24`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := newLogger(cmd, level, format)
			if err != nil {
				return usageError{err}
			}
			if o.NodeID < 0 && cmd.Flags().Changed("node-id") {
				return wrongUsage("--node-id is 0 or more, and not %d", o.NodeID)
			}
			if _, _, err := o.Resolve(); err != nil {
				return usageError{err}
			}
			return daemon.Run(cmd.Context(), o, logger, nil)
		},
	}
	f := c.Flags()
	f.StringVar(&o.DataDir, "data-dir", "", "folder for all data (default: gregor under the user's data folder)")
	f.StringArrayVar(&o.Listen, "listen", nil, "`HOST:PORT` to listen on; may be given more than once (default 127.0.0.1:9092)")
	f.StringArrayVar(&o.Advertise, "advertise", nil, "`HOST:PORT` that clients are told to connect to (default: the address they came in on)")
	f.StringVar(&o.HTTP, "http", "", "`HOST:PORT` for metrics, health and profiles, or off (default "+daemon.DefaultHTTP+")")
	f.IntVar(&o.NodeID, "node-id", -1, "id of this node (default: 0, or with --join one that is free)")
	f.StringSliceVar(&o.Join, "join", nil, "`HOST:PORT` of a node of the cluster to join, or of several, with commas; also GREGOR_JOIN")
	hideDefaults(f, "node-id")
	f.StringVar(&o.File, "config", "", "a Kafka server.properties `FILE`")
	f.StringArrayVar(&o.Set, "set", nil, "`key=value` to set; may be given more than once")
	f.StringVar(&level, "log-level", level, "debug, info, warn or error")
	f.StringVar(&format, "log-format", format, "text or json")
	return c
}

func newLogger(cmd *cobra.Command, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level is debug, info, warn or error, and not %q", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), options)), nil
	}
	return nil, fmt.Errorf("--log-format is text or json, and not %q", format)
}
