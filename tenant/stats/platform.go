package stats

import "strings"

// Platform is a phone's operating system.
type Platform string

// The platforms.
const (
	Unknown Platform = "unknown"
	IOS     Platform = "ios"
	Android Platform = "android"
)

// DevicePlatform tells the platform of a request to the device API by its User-Agent
// (verification protocol §8.2).
func DevicePlatform(userAgent string) Platform {
	agent := strings.ToLower(userAgent)
	switch {
	case strings.Contains(agent, "darwin"), strings.Contains(agent, "iphone"):
		return IOS
	case strings.Contains(agent, "dalvik"):
		return Android
	default:
		return Unknown
	}
}

// UploadPlatform tells the platform of a publish request by its User-Agent (key server
// protocol §9).
func UploadPlatform(userAgent string) Platform {
	agent := strings.ToLower(userAgent)
	switch {
	case strings.Contains(agent, "android"):
		return Android
	case strings.Contains(agent, "iphone"), strings.Contains(agent, "bluetoothd") && strings.Contains(agent, "cfnetwork"):
		return IOS
	default:
		return Unknown
	}
}

// ByPlatform is a number for each platform.
type ByPlatform struct{ Unknown, IOS, Android int64 }

// Total is their sum.
func (b ByPlatform) Total() int64 { return b.Unknown + b.IOS + b.Android }

func (b *ByPlatform) add(p Platform, n int64) {
	switch p {
	case IOS:
		b.IOS += n
	case Android:
		b.Android += n
	case Unknown:
		b.Unknown += n
	default:
		b.Unknown += n
	}
}
