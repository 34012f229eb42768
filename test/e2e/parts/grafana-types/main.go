// Reads a dashboard from the standard input by Grafana's own types, and tells everything in it that they do not know.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	found := problems(text)
	for _, each := range found {
		fmt.Fprintln(os.Stderr, each)
	}
	if len(found) > 0 {
		os.Exit(1)
	}
}

func problems(text []byte) (found []string) {
	tell := func(where string, err error) {
		// A list of no errors is no nil there.
		if err != nil && err.Error() != "" {
			found = append(found, where+err.Error())
		}
	}
	plugins.RegisterDefaultPlugins()
	read := dashboard.NewDashboard()
	tell("", read.UnmarshalJSONStrict(text))
	tell("", read.Validate())

	// What it passes over: a panel of a type that nobody knows, and the fields that all panels share.
	var panels struct {
		Panels []struct {
			Title, Type string
			FieldConfig json.RawMessage
		}
	}
	tell("", json.Unmarshal(text, &panels))
	for _, panel := range panels.Panels {
		where := fmt.Sprintf("panel %s: ", panel.Title)
		if _, known := cog.ConfigForPanelcfgVariant(panel.Type); !known && panel.Type != "row" {
			tell(where, fmt.Errorf("unknown type '%s'", panel.Type))
		}
		if panel.FieldConfig != nil {
			var fields dashboard.FieldConfigSource
			tell(where, fields.UnmarshalJSONStrict(panel.FieldConfig))
		}
	}
	return found
}
