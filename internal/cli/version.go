package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (see the Makefile).
var version string

// kafkaLevel is the release of Apache Kafka that Gregor's protocol and behaviour are those of.
const kafkaLevel = "4.3"

type versionOutput struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Go       string `json:"go"`
	Kafka    string `json:"kafka"`
	Platform string `json:"platform"`
}

func versionCommand() *cobra.Command {
	output := "table"
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version of gregor",
		Long: `Print the version of gregor, the commit it was built from, and the Kafka whose protocol it speaks.

Fields of -o json: version, commit, go, kafka, platform.`,
		Example: `  gregor version
  gregor version -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versionOutput{softwareVersion(), commit(), runtime.Version(), kafkaLevel, runtime.GOOS + "/" + runtime.GOARCH}
			switch output {
			case "json":
				return writeJSON(cmd.OutOrStdout(), v)
			case "table":
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "gregor %s\ncommit    %s\ngo        %s\nkafka     %s\nplatform  %s\n", v.Version, v.Commit, v.Go, v.Kafka, v.Platform)
				return err
			}
			return wrongUsage("-o is table or json, and not %q", output)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", output, "table or json")
	return c
}

func softwareVersion() string {
	if version != "" {
		return version
	}
	return "unknown"
}

// commit is what the Go toolchain noted when it built the binary.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	revision, changed := "", ""
	if ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				changed = "-dirty"
			}
		}
	}
	if revision == "" {
		return "unknown"
	}
	return revision + changed
}
