package mail

import (
	"crypto/tls"
	"errors"
	"net"
	"regexp"
	"time"

	gomail "github.com/wneessen/go-mail"

	"carillon/tenant/outbound"
)

// Server is a mail server and the login at it.
type Server struct {
	Host string
	// Port is 25, 465 (TLS from the start), 587 or 2525; zero is 587. The connection is
	// always encrypted, but to this machine.
	Port int
	// User and Password come together; empty for a server that asks for none.
	User, Password string
}

// Timeout is how long handing over one letter may take.
const Timeout = 10 * time.Second

const (
	portTLS    = 465
	portSubmit = 587
)

var hostForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// Check says what is wrong with a server's description, without a secret.
func (s Server) Check() error {
	switch {
	case !hostForm.MatchString(s.Host) || s.Port < 0 || s.Port > 65535:
		return errors.New("host and port")
	case (s.User == "") != (s.Password == ""):
		return errors.New("user and password come together")
	}
	return nil
}

// Client returns a client that reaches the server through n: the network that a tenant's
// servers may be on, or nil for any, which is for the platform's own.
func (s Server) Client(n *outbound.Network) (*gomail.Client, error) {
	secure := &tls.Config{ServerName: s.Host, MinVersion: tls.VersionTLS12}
	dial, dialTLS, local := s.ways(n, secure)
	if s.Port == 0 {
		s.Port = portSubmit
	}
	options := []gomail.Option{
		gomail.WithPort(s.Port), gomail.WithTimeout(Timeout), gomail.WithTLSConfig(secure),
		gomail.WithDialContextFunc(dial), gomail.WithTLSPolicy(gomail.TLSMandatory),
	}
	if s.Port == portTLS {
		options = append(options, gomail.WithSSL(), gomail.WithDialContextFunc(dialTLS))
	}
	if local {
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	}
	if s.User != "" {
		options = append(options,
			gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(s.User), gomail.WithPassword(s.Password))
	}
	return gomail.NewClient(s.Host, options...)
}

func (s Server) ways(n *outbound.Network, secure *tls.Config) (dial, dialTLS gomail.DialContextFunc, local bool) {
	if n != nil {
		return n.DialContext, n.DialTLS(secure), n.Loopback(s.Host)
	}
	plain := &net.Dialer{Timeout: Timeout}
	return plain.DialContext, (&tls.Dialer{NetDialer: plain, Config: secure}).DialContext, outbound.IsLoopback(s.Host)
}
