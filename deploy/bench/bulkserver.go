//go:build !release

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"carillon/authz/oidc"
	"carillon/deploy/service"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/export"
	"carillon/tenant/message"
)

// BulkServerOrders are what the server of [RunBulk] needs to know.
type BulkServerOrders struct {
	// DSN has ROLE where the database role stands.
	DSN string
	// Root and Files are paths, Issuer is where people sign in, Address what to serve.
	Root, Files, Issuer, Address string
	// Sent is the file to which the numbers that got a message are appended.
	Sent string
}

// BulkServer serves the portal, issues codes and sends messages, as one process of a
// service, until it is killed. Its orders come as JSON.
func BulkServer(ctx context.Context, in io.Reader) error {
	var o BulkServerOrders
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("orders: %w", err)
	}
	files, err := export.NewFileStore(o.Files)
	if err != nil {
		return err
	}
	root, err := signing.OpenRootFile(o.Root)
	if err != nil {
		return err
	}
	sent, err := os.OpenFile(o.Sent, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer sent.Close()
	s, err := service.Open(ctx, service.Config{
		Roles: []service.Role{service.Portal, service.Issuer}, Root: signing.Custody{Root: root}, Files: files, BaseURL: pagesURL,
		DSN:    func(role string) (string, error) { return strings.ReplaceAll(o.DSN, "ROLE", role), nil },
		Login:  oidc.Config{Issuer: o.Issuer, ClientID: "c", RedirectURL: pagesURL + "/login/callback", Now: time.Now},
		Sender: notes{sent}, JobInterval: time.Hour, NoLimits: true, QuotaLogOnly: true, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := net.Listen("tcp", o.Address)
	if err != nil {
		return err
	}
	return s.Run(ctx, l, nil)
}

// notes sends by writing a line, which stays when the process is killed.
type notes struct{ file *os.File }

func (n notes) Send(_ context.Context, _ *tenant.Tenant, m message.Message) error {
	_, err := n.file.WriteString(m.To + "\n")
	return err
}
