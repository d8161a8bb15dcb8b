"""What users may do and how they want their screens: ``UserPolicy`` and ``UserConfiguration``, as whole objects.

Modelled on jellyfin/jellyfin v10.9.11, v10.10.7, v10.11.11 and v12.0-rc5:

- ``MediaBrowser.Model/Users/UserPolicy.cs`` and ``MediaBrowser.Model/Configuration/UserConfiguration.cs``: the fields,
  and what they are when a client leaves them out;
- ``Jellyfin.Server.Implementations/Users/UserManager.cs`` ``GetUserDto``, ``UpdatePolicyAsync``,
  ``UpdateConfigurationAsync``: what is stored, and what is sent. ``EnableLyricManagement`` is stored and never sent.

Emby's fields are those of its published specification; their defaults are assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.user_data import ServerUser

_AUTHENTICATION = "Jellyfin.Server.Implementations.Users.DefaultAuthenticationProvider"
_PASSWORD_RESET = "Jellyfin.Server.Implementations.Users.DefaultPasswordResetProvider"
_CAST_RECEIVERS = ("F007D354", "6F511C87")
_NUMBERS = ("MaxParentalRating", "MaxParentalSubRating", "LockedOutDate")

# In the order in which the server sends them, with their values for a field that a client leaves out.
_JELLYFIN_POLICY: dict[str, Any] = {
    "IsAdministrator": False, "IsHidden": True, "EnableCollectionManagement": False, "EnableSubtitleManagement": False,
    "EnableLyricManagement": False, "IsDisabled": False, "MaxParentalRating": None, "MaxParentalSubRating": None,
    "BlockedTags": [], "AllowedTags": [], "EnableUserPreferenceAccess": True, "AccessSchedules": [],
    "BlockUnratedItems": [], "EnableRemoteControlOfOtherUsers": False, "EnableSharedDeviceControl": True,
    "EnableRemoteAccess": True, "EnableLiveTvManagement": True, "EnableLiveTvAccess": True, "EnableMediaPlayback": True,
    "EnableAudioPlaybackTranscoding": True, "EnableVideoPlaybackTranscoding": True, "EnablePlaybackRemuxing": True,
    "ForceRemoteSourceTranscoding": False, "EnableContentDeletion": False, "EnableContentDeletionFromFolders": [],
    "EnableContentDownloading": True, "EnableSyncTranscoding": True, "EnableMediaConversion": True,
    "EnabledDevices": [], "EnableAllDevices": True, "EnabledChannels": [], "EnableAllChannels": True,
    "EnabledFolders": [], "EnableAllFolders": True, "InvalidLoginAttemptCount": 0, "LoginAttemptsBeforeLockout": -1,
    "MaxActiveSessions": 0, "EnablePublicSharing": True, "BlockedMediaFolders": [], "BlockedChannels": [],
    "RemoteClientBitrateLimit": 0, "AuthenticationProviderId": _AUTHENTICATION,
    "PasswordResetProviderId": _PASSWORD_RESET, "SyncPlayAccess": "CreateAndJoinGroups",
}  # fmt: skip
_EMBY_POLICY: dict[str, Any] = {
    "IsAdministrator": False, "IsHidden": True, "IsHiddenRemotely": True, "IsHiddenFromUnusedDevices": False,
    "IsDisabled": False, "LockedOutDate": 0, "MaxParentalRating": None, "AllowTagOrRating": False, "BlockedTags": [],
    "IsTagBlockingModeInclusive": False, "IncludeTags": [], "EnableUserPreferenceAccess": True, "AccessSchedules": [],
    "BlockUnratedItems": [], "EnableRemoteControlOfOtherUsers": False, "EnableSharedDeviceControl": True,
    "EnableRemoteAccess": True, "EnableLiveTvManagement": True, "EnableLiveTvAccess": True, "EnableMediaPlayback": True,
    "EnableAudioPlaybackTranscoding": True, "EnableVideoPlaybackTranscoding": True, "EnablePlaybackRemuxing": True,
    "EnableContentDeletion": False, "RestrictedFeatures": [], "EnableContentDeletionFromFolders": [],
    "EnableContentDownloading": True, "EnableSubtitleDownloading": False, "EnableSubtitleManagement": False,
    "EnableSyncTranscoding": True, "EnableMediaConversion": True, "EnabledChannels": [], "EnableAllChannels": True,
    "EnabledFolders": [], "EnableAllFolders": True, "InvalidLoginAttemptCount": 0, "EnablePublicSharing": True,
    "RemoteClientBitrateLimit": 0,
    "AuthenticationProviderId": "Emby.Server.Implementations.Library.DefaultAuthenticationProvider",
    "ExcludedSubFolders": [], "SimultaneousStreamLimit": 0, "EnabledDevices": [], "EnableAllDevices": True,
    "AllowCameraUpload": True, "AllowSharingPersonalItems": False,
}  # fmt: skip
_JELLYFIN_CONFIGURATION: dict[str, Any] = {
    "AudioLanguagePreference": None, "PlayDefaultAudioTrack": True, "SubtitleLanguagePreference": None,
    "DisplayMissingEpisodes": False, "GroupedFolders": [], "SubtitleMode": "Default", "DisplayCollectionsView": False,
    "EnableLocalPassword": False, "OrderedViews": [], "LatestItemsExcludes": [], "MyMediaExcludes": [],
    "HidePlayedInLatest": True, "RememberAudioSelections": True, "RememberSubtitleSelections": True,
    "EnableNextEpisodeAutoPlay": True, "CastReceiverId": None,
}  # fmt: skip
_EMBY_CONFIGURATION: dict[str, Any] = {
    "AudioLanguagePreference": None, "PlayDefaultAudioTrack": True, "SubtitleLanguagePreference": None,
    "ProfilePin": None, "DisplayMissingEpisodes": False, "SubtitleMode": "Smart", "OrderedViews": [],
    "LatestItemsExcludes": [], "MyMediaExcludes": [], "HidePlayedInLatest": True, "HidePlayedInMoreLikeThis": False,
    "HidePlayedInSuggestions": False, "RememberAudioSelections": True, "RememberSubtitleSelections": True,
    "EnableNextEpisodeAutoPlay": True, "ResumeRewindSeconds": 0, "IntroSkipMode": "ShowButton",
    "EnableLocalPassword": False,
}  # fmt: skip
# What decides who sees what, which the user object of the stand-in has in another form.
_OF_USER = (
    "IsAdministrator", "IsHidden", "IsDisabled", "MaxParentalRating", "EnableAllFolders", "EnabledFolders",
    "BlockedTags", "AllowedTags", "IncludeTags", "ExcludedSubFolders", "BlockedMediaFolders", "BlockedChannels",
)  # fmt: skip


def policy_dto(user: ServerUser, release: tuple[int, int] | None) -> dict[str, Any]:
    """Return a user's policy with all its fields but those that are null; ``release`` None: Emby's."""
    facts, policy = user.facts, user.policy
    given = {
        "EnableRemoteControlOfOtherUsers": facts.is_administrator,
        "EnableContentDeletion": facts.is_administrator,
        **policy.extra,
        "IsAdministrator": facts.is_administrator,
        "IsHidden": facts.is_hidden,
        "IsDisabled": facts.is_disabled,
        "MaxParentalRating": facts.max_parental_rating,
        "BlockedTags": list(policy.blocked_tags),
        "AllowedTags": list(policy.allowed_tags),
        "IncludeTags": list(policy.allowed_tags),
        "EnabledFolders": list(policy.enabled_folders),
        "EnableAllFolders": policy.enable_all_folders,
    }
    if release is None:
        return _sent(_EMBY_POLICY, given | {"IsHiddenRemotely": policy.extra.get("IsHiddenRemotely", facts.is_hidden)})
    sent = _sent(_JELLYFIN_POLICY, {**given, "EnableLyricManagement": False})
    if release < (10, 11):
        sent.pop("MaxParentalSubRating", None)
    return sent


def parse_policy(content: Mapping[str, Any], release: tuple[int, int] | None) -> dict[str, Any]:
    """Return a whole policy from what a client sent; what it left out has its default. Raises Unmodelled."""
    return _parse(_EMBY_POLICY if release is None else _JELLYFIN_POLICY, content)


def extra_of(policy: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a policy that decide nothing in the stand-ins."""
    return {name: value for name, value in policy.items() if name not in _OF_USER}


def configuration_dto(user: ServerUser, release: tuple[int, int] | None) -> dict[str, Any]:
    """Return a user's configuration with all its fields but those that are null; ``release`` None: Emby's."""
    if release is None:
        return _sent(_EMBY_CONFIGURATION, user.configuration)
    given = user.configuration
    # The server has no null here.
    own = {
        "SubtitleLanguagePreference": given.get("SubtitleLanguagePreference") or "",
        "CastReceiverId": given.get("CastReceiverId") or _CAST_RECEIVERS[0],
    }
    return _sent(_JELLYFIN_CONFIGURATION, given | own)


def parse_configuration(content: Mapping[str, Any], release: tuple[int, int] | None) -> dict[str, Any]:
    """Return a whole configuration from what a client sent. Raises Unmodelled."""
    if release is None:
        return _parse(_EMBY_CONFIGURATION, content)
    configuration = _parse(_JELLYFIN_CONFIGURATION, content)
    for name in ("GroupedFolders", "OrderedViews", "LatestItemsExcludes", "MyMediaExcludes"):
        configuration[name] = [binding.as_guid(name, str(folder)) for folder in configuration[name]]
    return configuration


def _sent(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: given.get(name, default) for name, default in fields.items()}
    return {name: value for name, value in values.items() if value is not None}


def _parse(fields: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every field. Names are case-insensitive, and unknown ones are ignored."""
    given = {name.lower(): value for name, value in content.items()}
    parsed: dict[str, Any] = {}
    for name, default in fields.items():
        value = given.get(name.lower(), default)
        kinds = (int,) if name in _NUMBERS else (str,) if default is None else (type(default),)
        is_number = isinstance(value, bool) is (kinds == (bool,))
        if not (isinstance(value, kinds) and is_number) and not (value is None and _is_nullable(default)):
            raise binding.invalid(f"$.{name}", value)
        parsed[name] = [] if value is None and isinstance(default, list) else value
    return parsed


def _is_nullable(default: object) -> bool:
    return default is None or isinstance(default, list | str)
