"""Where stand-ins differ from recorded answers, and why: ``python -m aperture_dagster_tests.recordings`` prints it.

A difference is named as :mod:`~aperture_dagster_tests.recordings.comparison` names it. One that is not in this table is
a failure, and so is one that no longer occurs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

UNREAD = "No client here reads it, so the stand-in leaves it out."
"""The reason that is checked: the name of such a key is nowhere in the clients."""
_JELLYFINS = ("jellyfin-12.0.0", "jellyfin-10.11.11")
# What several places lack: sources of a film, titles and people as Seerr describes them, and its requests.
_SOURCE = """
    ETag Formats GenPtsInput HasSegments IgnoreDts IgnoreIndex IsInfiniteStream MediaAttachments ReadAtNativeFramerate
    RequiredHttpHeaders RequiresClosing RequiresLooping RequiresOpening SupportsDirectPlay SupportsDirectStream
    SupportsProbing SupportsTranscoding TranscodingSubProtocol UseMostCompatibleTranscodingProfile
"""
_MEDIA = """
    downloadStatus downloadStatus4k externalServiceId externalServiceId4k externalServiceSlug externalServiceSlug4k
    jellyfinMediaId jellyfinMediaId4k lastSeasonChange mediaAddedAt ratingKey ratingKey4k serviceId serviceId4k
"""
_PERSON = """
    avatar avatarETag avatarVersion movieQuotaDays movieQuotaLimit plexId plexUsername recoveryLinkExpirationDate
    tvQuotaDays tvQuotaLimit warnings
"""
_REQUESTS = (
    "GET /movie/* 200.mediaInfo.requests[]", "GET /tv/* 200.mediaInfo.requests[]", "GET /request/* 200",
    "POST /request 201",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Difference:
    """Differences with one reason: keys that the stand-in ``lacks`` or ``adds``, by place, and others."""

    servers: tuple[str, ...]
    because: str
    lacks: Mapping[str, str] = field(default_factory=dict)
    adds: Mapping[str, str] = field(default_factory=dict)
    differs: tuple[str, ...] = ()

    def names(self) -> Iterator[str]:
        """Yield the name of each difference."""
        for what, places in (("lacks", self.lacks), ("adds", self.adds)):
            yield from (f"{what} {place}.{key}" for place, keys in places.items() for key in keys.split())
        yield from self.differs


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        _JELLYFINS,
        UNREAD,
        lacks={
            "BoxSet": "ChannelId GenreItems ImageBlurHashes",
            "CollectionFolder": "ChannelId ImageBlurHashes",
            "Episode": """
            ChannelId ImageBlurHashes PrimaryImageAspectRatio SeriesPrimaryImageTag
            """,
            "GET /Library/VirtualFolders 200[]": "PrimaryImageItemId",
            "GET /System/Configuration 200": """
            ActivityLogRetentionDays AllowClientLogUpload CacheSize CastReceiverApplications ChapterImageResolution
            CodecsUsed ContentTypes CorsHosts DisableLiveTvChannelUserDataName DummyChapterDuration
            EnableCaseSensitiveItemIds EnableExternalContentInSuggestions EnableLegacyAuthorization EnableMetrics
            EnableNormalizedItemByNameIds EnableSlowResponseWarning ImageExtractionTimeoutMs ImageSavingConvention
            InactiveSessionThreshold IsPortAuthorized LibraryMetadataRefreshConcurrency LibraryScanFanoutConcurrency
            LibraryUpdateDuration LogFileRetentionDays MaxAudiobookResume MetadataOptions MetadataPath
            MinAudiobookResume ParallelImageEncodingLimit PathSubstitutions PluginRepositories QuickConnectAvailable
            RemoteClientBitrateLimit SaveMetadataHidden SkipDeserializationForBasicTypes SlowResponseThresholdMs
            SortRemoveCharacters SortRemoveWords SortReplaceCharacters TrickplayOptions
            """,
            "GET /System/Info 200": """
            CachePath CanLaunchWebBrowser CanSelfRestart CastReceiverApplications CompletedInstallations
            EncoderLocation HasUpdateAvailable InternalMetadataPath ItemsByNamePath LogPath
            OperatingSystemDisplayName ProgramDataPath SystemArchitecture TranscodingTempPath WebPath
            WebSocketPortNumber
            """,
            "Movie": "ChannelId ForcedSortName GenreItems HasSubtitles ImageBlurHashes",
            "Movie.MediaSources[]": _SOURCE,
            "Video.MediaSources[]": _SOURCE,
            "Movie.MediaSources[].MediaStreams[]": """
            AudioSpatialFormat AverageFrameRate BitDepth BitRate ChannelLayout DisplayTitle IsAVC IsAnamorphic
            IsHearingImpaired IsInterlaced Level LocalizedDefault LocalizedExternal NalLengthSize PixelFormat
            Profile RealFrameRate RefFrames ReferenceFrameRate SampleRate SupportsExternalStream TimeBase VideoRange
            VideoRangeType
            """,
            "Playlist": "ChannelId ChildCount GenreItems ImageBlurHashes",
            "Series": "AirDays ChannelId ForcedSortName GenreItems ImageBlurHashes",
            "Video": """
            CanDelete CanDownload ChannelId Chapters DisplayPreferencesId EnableMediaSourceDisplay Etag ExternalUrls
            GenreItems ImageBlurHashes LocalTrailerCount LockedFields People PrimaryImageAspectRatio
            ProductionLocations RemoteTrailers SpecialFeatureCount Trickplay
            """,
        },
    ),
    Difference(
        ("jellyfin-12.0.0",),
        UNREAD,
        lacks={
            "Episode": "ParentPrimaryImageItemId ParentPrimaryImageTag",
            "GET /ScheduledTasks 200[]": "LastExecutionResult",
            "Movie.MediaSources[].MediaStreams[]": "IsOriginal LocalizedOriginal",
        },
    ),
    Difference(
        ("seerr-3.1.0",),
        UNREAD,
        lacks={
            "GET /movie/* 200": """
            adult backdropPath budget credits genres homepage imdbId keywords onUserWatchlist originalLanguage
            originalTitle overview popularity posterPath productionCompanies productionCountries relatedVideos
            releases revenue runtime spokenLanguages tagline video voteAverage voteCount watchProviders
            """,
            "GET /movie/* 200.externalIds": "facebookId instagramId twitterId",
            "GET /movie/* 200.mediaInfo": f"{_MEDIA} issues mediaUrl serviceUrl",
            "GET /tv/* 200.mediaInfo": f"{_MEDIA} issues mediaUrl serviceUrl",
            "GET /movie/* 200.mediaInfo.requests[].media": f"{_MEDIA} mediaUrl serviceUrl",
            "GET /request/* 200.media": f"{_MEDIA} serviceUrl",
            "GET /tv/* 200.mediaInfo.requests[].media": f"{_MEDIA} serviceUrl",
            "POST /request 201.media": f"{_MEDIA} mediaUrl",
            "GET /user 200.results[]": _PERSON,
            **{place: "isAutoRequest languageProfileId profileId rootFolder serverId tags" for place in _REQUESTS},
            **{
                f"{place}.{who}": _PERSON if "mediaInfo" in place else f"{_PERSON} settings"
                for place in _REQUESTS
                for who in ("modifiedBy", "requestedBy")
            },
            "GET /tv/* 200": """
            backdropPath contentRatings createdBy credits episodeRunTime genres homepage inProduction keywords
            languages lastAirDate lastEpisodeToAir networks nextEpisodeToAir numberOfEpisodes onUserWatchlist
            originCountry originalLanguage originalName overview popularity posterPath productionCompanies
            productionCountries relatedVideos spokenLanguages tagline type voteAverage voteCount watchProviders
            """,
            "GET /tv/* 200.externalIds": """
            facebookId freebaseId freebaseMid instagramId tvdbId tvrageId twitterId
            """,
            "GET /tv/* 200.seasons[]": "airDate episodeCount overview posterPath",
        },
    ),
    Difference(
        ("seerr-3.1.0",),
        "The owner of the recorded server signs in with Jellyfin; ours has a password of its own.",
        differs=(
            *(
                f"{place}.{difference}"
                for place in (
                    *(f"{request}.modifiedBy" for request in _REQUESTS),
                    "GET /movie/* 200.mediaInfo.requests[].requestedBy",
                    "GET /user 200.results[]",
                )
                for difference in (
                    "jellyfinUserId is id or null, not id",
                    "jellyfinUsername is null or text, not text",
                    "username is null or text, not null",
                )
            ),
            "GET /request/* 200.requestedBy.jellyfinUserId is id or null, not id",
            "GET /request/* 200.requestedBy.jellyfinUsername is null or text, not text",
            "POST /request 201.requestedBy.jellyfinUserId is id or null, not id",
            "POST /request 201.requestedBy.jellyfinUsername is null or text, not text",
        ),
    ),
    Difference(
        ("seerr-3.1.0",),
        "Depends on the title: TMDb knows no such id of those that were asked for, and Seerr learns one later.",
        differs=(
            "GET /movie/* 200.mediaInfo.imdbId is null, not null or text",
            "GET /movie/* 200.mediaInfo.requests[].media.imdbId is null, not null or text",
            "GET /tv/* 200.externalIds.imdbId is text, not null",
            "GET /tv/* 200.mediaInfo.tvdbId is number, not null or number",
            "POST /request 201.media.imdbId is null, not null or text",
        ),
    ),
    Difference(
        ("seerr-3.1.0",),
        "The client reads keys of these names elsewhere, but not here: TMDb's words for a title, and names of seasons.",
        lacks={
            "GET /movie/* 200": "collection status",
            "GET /tv/* 200.seasons[]": "id name",
            "GET /tv/* 200": "status",
        },
    ),
    Difference(
        ("seerr-3.1.0",),
        "Of a new request, only the state of its title is read.",
        lacks={"POST /request 201.media": "requests"},
    ),
    Difference(
        _JELLYFINS,
        "The client reads nothing but the paths of a film's further files.",
        lacks={
            "Video": """
            BackdropImageTags CommunityRating DateCreated Genres Height ImageTags LockData MediaStreams
            OfficialRating Overview ParentId ProviderIds RunTimeTicks SortName Studios Taglines Tags Width
            """,
            "Video.MediaSources[]": "Container MediaStreams VideoType",
        },
    ),
    Difference(
        ("jellyfin-12.0.0",),
        "The client reads nothing but the paths of a film's further files.",
        lacks={"Video": "PremiereDate ProductionYear"},
    ),
    Difference(
        _JELLYFINS,
        "The recorded files have no dates of episodes, the recorded series no first and last day.",
        adds={"Episode": "PremiereDate ProductionYear", "Series": "EndDate PremiereDate"},
    ),
    Difference(
        _JELLYFINS,
        "Those series are unrated, and those films with parts or versions were not in a recorded list of titles.",
        adds={"Movie": "MediaSourceCount PartCount", "Series.UserData": "Likes Rating"},
    ),
    Difference(
        _JELLYFINS, "The recorded sound names no language.", adds={"Movie.MediaSources[].MediaStreams[]": "Language"}
    ),
    Difference(
        _JELLYFINS,
        "A collection takes them from its members; the client writes them back as it read them.",
        lacks={"BoxSet": "OfficialRating PremiereDate ProductionYear"},
    ),
    Difference(_JELLYFINS, "Ours has a picture of its own, the recorded one none yet.", adds={"BoxSet.ImageTags": "*"}),
    Difference(
        _JELLYFINS,
        "Episodes have neither pictures nor ids in our world, and no list of it has an episode.",
        lacks={"Episode.ImageTags": "*", "Episode.ProviderIds": "*", "Episode": "PlaylistItemId"},
    ),
    Difference(
        _JELLYFINS,
        "The recorded libraries were made with these options, ours without; both are allowed.",
        lacks={"GET /Library/VirtualFolders 200[].LibraryOptions": "LocalMetadataReaderOrder MetadataSavers"},
    ),
    Difference(
        _JELLYFINS,
        "Few titles of a server have a rating by critics, and none of our worlds.",
        lacks={"Movie": "CriticRating", "Series": "CriticRating"},
    ),
    Difference(_JELLYFINS, "The duration of a list is not read.", lacks={"Playlist": "RunTimeTicks"}),
    Difference(
        ("jellyfin-12.0.0",),
        "Which of the lists has ids at a service depends on what was read: before they were stamped, or after.",
        lacks={"Playlist.ProviderIds": "*"},
        adds={"BoxSet.ProviderIds": "*"},
    ),
    Difference(
        ("jellyfin-10.11.11",),
        "The recorded lists were read before they had pictures, and with the rating of their films.",
        lacks={"Playlist": "OfficialRating"},
        adds={"Playlist.ImageTags": "*"},
    ),
    Difference(
        _JELLYFINS,
        "Of the recorded sessions some belong to browsers; of those replayed, all to the key.",
        differs=("GET /Sessions 200[].DeviceId is id, not id or text",),
    ),
    Difference(
        ("jellyfin-10.11.11",),
        "The recorded users never signed in.",
        adds={"GET /Users 200[]": "LastLoginDate"},
        differs=("Episode.UserData.PlayedPercentage is absent or number, not number",),
    ),
)
